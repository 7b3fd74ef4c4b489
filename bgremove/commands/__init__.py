"""The commands beside ``remove``: one module each, loaded when it is used."""
