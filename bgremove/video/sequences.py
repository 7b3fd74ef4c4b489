"""Pictures in a folder, and animations, as videos; in and out."""
