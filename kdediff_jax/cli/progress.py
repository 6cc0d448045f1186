"""Progress of a command: bars on a terminal, lines where output goes to a file or a pipe."""

from __future__ import annotations

import abc
import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ..experiments.costs import duration
from .messages import say

LINE_SECONDS = 10.0  # between two lines of a task that goes on
ALIVE_SECONDS = 60.0  # of silence, after which a line says that it goes on

Advance = Callable[[int], None]


class Board(abc.ABC):
    """Where tasks are shown: `task` begins one, and gives the function that hears of its parts."""

    @abc.abstractmethod
    def task(self, description: str, total: int, unit: str = "cycles") -> Advance:
        """Begin a task of `total` parts; what is returned hears how many more are done."""

    @abc.abstractmethod
    def stage(self, description: str) -> None:
        """Say what is being done, where nobody can count its parts."""


@contextlib.contextmanager
def board(console: Console) -> Iterator[Board]:
    """Give a board for as long as the work takes."""
    if console.is_terminal:
        columns = (
            TextColumn("{task.description:<24}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            yield _Bars(progress)
        return
    lines = _Lines(console)
    with lines.alive():
        yield lines


class _Bars(Board):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage = None

    def task(self, description: str, total: int, unit: str = "cycles") -> Advance:
        number = self._progress.add_task(description, total=total)
        return lambda parts: self._progress.advance(number, parts)

    def stage(self, description: str) -> None:
        if self._stage is None:
            self._stage = self._progress.add_task(description, total=None)
        self._progress.update(self._stage, description=description)


class _Lines(Board):
    """A line when a task begins and ends, and in between whenever there is news or long silence."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._now = ""  # what is being done
        self._began = self._shown = time.perf_counter()

    def task(self, description: str, total: int, unit: str = "cycles") -> Advance:
        self.stage(description)
        began = self._began
        done, marked = 0, None  # the time of the first news: before it, programs are compiled

        def advance(parts: int) -> None:
            nonlocal done, marked
            now = time.perf_counter()
            marked = marked or (now, done + parts)
            done += parts
            text = f"{description} {done}/{total} {unit}, {now - began:.0f} s"
            since, before = marked
            if before < done < total:
                left = (now - since) * (total - done) / (done - before)
                text += f", about {duration(left)} left"
            with self._lock:
                self._now = text
            if done >= total or now - self._shown >= LINE_SECONDS:
                self._show(text)

        return advance

    def stage(self, description: str) -> None:
        with self._lock:
            self._now, self._began = description, time.perf_counter()
        self._show(description)

    def _show(self, text: str) -> None:
        with self._lock:
            self._shown = time.perf_counter()
            say(Text(text), self._console)
            self._console.file.flush()

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Say that it goes on, a minute after the last line, however long a part takes."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(ALIVE_SECONDS / 10):
                silent = time.perf_counter() - self._shown
                if silent >= ALIVE_SECONDS:
                    took = time.perf_counter() - self._began
                    self._show(f"{self._now} ... at work, {duration(took)} since it began")

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
