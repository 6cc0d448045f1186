"""What the commands say when something is wrong, and the exit status they leave with."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Mapping
from typing import NoReturn

import typer
from rich.console import Console

errors = Console(stderr=True)


def fail(message: str) -> NoReturn:
    """Print an error and leave with status 2; nothing has been written."""
    errors.print(f"[bold red]error[/]: {message}", highlight=False, soft_wrap=True)
    raise typer.Exit(2)


@contextlib.contextmanager
def reported(interrupted: str = "nothing was written") -> Iterator[None]:
    """Turn what a user can mend, and an interrupt, into a message and an exit status."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        errors.print(f"interrupted; {interrupted}")
        raise typer.Exit(130) from None


def known(kind: str, value: str, options: Mapping[str, str]) -> str:
    """Return `value` if it is an option, else fail and suggest the nearest."""
    if value in options:
        return value
    near = difflib.get_close_matches(value, options, n=1, cutoff=0.4)
    hint = f" Did you mean [bold]{near[0]}[/]?" if near else ""
    fail(f"unknown {kind} {value!r}.{hint} Known: {', '.join(options)}")
