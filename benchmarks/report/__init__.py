"""The documents made of the records."""
