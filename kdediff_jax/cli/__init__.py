"""The command line, `kdediff`. JAX is imported when a run starts, never for `--help`."""

from .app import main

__all__ = ["main"]
