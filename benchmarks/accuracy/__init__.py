"""How good the filters are."""
