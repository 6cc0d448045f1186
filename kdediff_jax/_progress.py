"""Progress of a loop on the host: a bar where rich is installed, else a line."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

Report = Callable[[int, int], Any]

SECONDS = 0.2  # between two changes of a line
PIPED_SECONDS = 10.0  # between two lines where none can be changed: a file, a pipe


@contextlib.contextmanager
def reporting(progress: bool | Report | None, unit: str = "cycles") -> Iterator[Report]:
    """Give a function of what is done and the total.

    Args:
        progress: the user's own function; True for a bar; None or False for nothing.
        unit: what is counted.

    Raises:
        TypeError: it is none of them.
    """
    if callable(progress):
        yield progress
    elif progress is None or progress is False:
        yield lambda done, total: None
    elif progress is not True:
        raise TypeError(f"progress: expected True or a function (done, total), got {progress!r}")
    elif _rich_can_draw():
        with _bar(unit) as report:
            yield report
    else:
        line = _Line(sys.stderr, unit)
        try:
            yield line
        finally:
            line.close()


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _rich_can_draw() -> bool:
    """Say whether rich is there, and has a terminal, or a notebook with the widgets it needs."""
    if importlib.util.find_spec("rich") is None:
        return False
    if _in_notebook():
        return importlib.util.find_spec("ipywidgets") is not None
    return sys.stderr.isatty()


@contextlib.contextmanager
def _bar(unit: str) -> Iterator[Report]:
    from rich import progress as rich
    from rich.console import Console

    times = rich.TimeElapsedColumn(), rich.TextColumn("left:"), rich.TimeRemainingColumn()
    columns = rich.BarColumn(), rich.MofNCompleteColumn(), rich.TextColumn(unit), *times
    console = None if _in_notebook() else Console(stderr=True)
    with rich.Progress(*columns, console=console) as bar:
        task = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Line:
    """A line that changes in a terminal or a notebook, and is repeated now and then elsewhere."""

    def __init__(self, stream: TextIO, unit: str) -> None:
        self.stream, self.unit = stream, unit
        self.changes = stream.isatty() or _in_notebook()
        self.began, self.shown_at, self.open = time.perf_counter(), float("-inf"), False

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        wait = SECONDS if self.changes else PIPED_SECONDS
        if done < total and now - self.shown_at < wait:
            return
        self.shown_at = now
        text = f"{done}/{total} {self.unit}, {now - self.began:.0f} s"
        self.stream.write(f"\r{text}" if self.changes else f"{text}\n")
        self.stream.flush()
        self.open = self.changes

    def close(self) -> None:
        """End a line that is still open."""
        if self.open:
            self.stream.write("\n")
            self.stream.flush()
