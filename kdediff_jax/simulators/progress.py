"""Progress of a loop on the host: a bar, or a function of yours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

Report = Callable[[int, int], Any]


@contextlib.contextmanager
def reporting(progress: bool | Report | None, total: int) -> Iterator[Report]:
    """Give a function to be called with the numbers of finished and of all cycles.

    Args:
        progress: True for a bar (rich, the extra `cli`; in notebooks too), a function, or nothing.
        total: number of cycles.

    Raises:
        ImportError: a bar is asked for, and rich is not installed.
        TypeError: neither a bool nor a function.
    """
    if progress is None or progress is False:
        yield lambda done, total: None
    elif callable(progress):
        yield progress
    elif progress is True:
        with _bar(total) as report:
            yield report
    else:
        raise TypeError(f"progress: expected a bool or a function, got {progress!r}")


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Report]:
    try:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
    except ImportError as error:
        raise ImportError(
            'progress: expected rich, which the extra "cli" brings: pip install "kdediff_jax[cli]"'
        ) from error
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(TextColumn("cycles"), *columns) as bar:
        task = bar.add_task("cycles", total=total)
        yield lambda done, total: bar.update(task, completed=done)
