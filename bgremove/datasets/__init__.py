"""Data sets for training: found, fetched, laid out as train/ and val/ with images/ and masks/."""
