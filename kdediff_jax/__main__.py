"""`python -m kdediff_jax` is `kdediff`."""

from .cli import main

main()
