"""Runs that take long: in chunks, with progress, and a checkpoint that a kill cannot harm."""

from .run import run as run
from .run import wanted as wanted
from .series import Series as Series

__all__ = ["Series", "run", "wanted"]
