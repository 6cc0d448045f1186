"""Runs that take long: in chunks, with progress, and a checkpoint that a kill cannot harm."""

from .record import remove_checkpoint as remove_checkpoint
from .run import run as run
from .run import wanted as wanted
from .series import Series as Series

__all__ = ["Series", "remove_checkpoint", "run", "wanted"]
