"""Fine-tuning published networks on a user's own pictures."""
