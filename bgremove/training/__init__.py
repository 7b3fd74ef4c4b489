"""Training a network of one's own. Needs the extra ``train`` (PyTorch, Lightning)."""
