"""The command line, `kdediff`. JAX is imported when a run starts, never for `--help`."""

from .._compilation import keep_programs
from .._interrupts import heard
from . import interrupts

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    interrupts.listen()
    try:
        with heard():
            from .app import app

            keep_programs()
            app()
    except SystemExit as stop:
        if stop.code != interrupts.STATUS:
            raise
        interrupts.leave()
    except KeyboardInterrupt:
        interrupts.leave()
