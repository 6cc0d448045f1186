"""What the commands say when something is wrong, and the exit status they leave with.

0: done. 1: the run failed (no room on the disk, too many failed cycles). 2: it was asked for
something that cannot be. 130: interrupted.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator, Mapping
from typing import NoReturn

import typer
from rich.console import Console
from rich.text import Text

from . import interrupts

PIPED_COLUMNS = 200  # where no window cuts them
FAILED, REFUSED, INTERRUPTED = 1, 2, interrupts.STATUS


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints every text as it is.

    Names of files may have brackets and colons, which rich's markup and emoji would swallow; what
    shall stand out is a `Text`.
    """
    found = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = PIPED_COLUMNS
    return found


def say(text: str | Text, to: Console | None = None) -> None:
    """Print a text of which no line is broken, so that names can be copied; by default an error."""
    (to or console(stderr=True)).print(text, soft_wrap=True)


def fail(message: str, status: int = REFUSED) -> NoReturn:
    """Print an error and leave; no result has been written."""
    say(Text("error", style="bold red").append(f": {message}", style="not bold default"))
    raise typer.Exit(status)


@contextlib.contextmanager
def reported(interrupted: str = "nothing was written") -> Iterator[None]:
    """Turn what a user can mend, and an interrupt, into a message and an exit status."""
    try:
        yield
    except typer.Exit:
        raise
    except (KeyboardInterrupt, Exception) as error:
        # an interrupt that falls into a call from C++ comes out as an error of that call
        if isinstance(error, KeyboardInterrupt) or interrupts.came():
            say(f"interrupted; {interrupted}")
            raise typer.Exit(INTERRUPTED) from None
        if isinstance(error, ValueError | TypeError | ImportError | FileExistsError):
            fail(str(error))
        if isinstance(error, RuntimeError | OSError):
            fail(str(error), FAILED)
        raise


def known(kind: str, value: str, options: Mapping[str, str]) -> str:
    """Return `value` if it is an option, else fail and suggest the nearest."""
    if value in options:
        return value
    near = difflib.get_close_matches(value, options, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    fail(f"unknown {kind} {value!r}.{hint} Known: {', '.join(options)}")
