"""Calls in other processes, of joblib: one that dies or hangs takes only its own call with it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any

from .._remote import Call, attempt_all, too_late

DIED = "the process that ran it died (a crash in compiled code, or out of memory)"
QUICK = 0.02  # seconds that a process should be at work before it sends something back
GRACE = 30.0  # seconds after the time-out at which a process is killed that has not heard of it
IDLE = 300  # seconds after which processes without work end
THREADS = "OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"  # libraries that start some in each process


def in_processes(
    function: Callable[..., Any], calls: Sequence[Call], workers: int, timeout: float | None
) -> list[Any]:
    """Return the outcomes of all calls: what each gave, or an exception.

    Args:
        function: of the user.
        calls: what it is called with.
        workers: number of processes.
        timeout: seconds of one call, from its own start; None: as long as it likes.

    Raises:
        ImportError: joblib is not installed.
    """
    crew = _Crew(function, calls, workers, timeout)
    try:
        return crew.outcomes()
    except BaseException:  # Ctrl-C: nobody waits for them any more
        crew.kill()
        raise


class _Crew:
    """The processes at work, some calls in each, so that it is known who has died or hangs."""

    def __init__(
        self,
        function: Callable[..., Any],
        calls: Sequence[Call],
        workers: int,
        timeout: float | None,
    ) -> None:
        self.function, self.calls, self.workers, self.timeout = function, calls, workers, timeout
        self.found: dict[int, Any] = {}
        self.waiting, self.size = deque(range(len(calls))), 1
        self.suspects: deque[int] = deque()  # in a process that died or hung: each by itself
        self.running: dict[Future[Any], tuple[list[int], float]] = {}

    def outcomes(self) -> list[Any]:
        """Work until all is done."""
        while self.waiting or self.suspects or self.running:
            self._start()
            done, _ = wait(self.running, self._patience(), FIRST_COMPLETED)
            for future in done:
                self._take(future)
            if not done:
                self._give_up()
        return [self.found[k] for k in range(len(self.calls))]

    def kill(self) -> None:
        """End the processes, whatever they do."""
        _executor(self.workers).shutdown(wait=True, kill_workers=True)
        self.running.clear()

    def _start(self) -> None:
        """Give work to whoever has none."""
        if self.suspects:
            if not self.running:
                self._submit([self.suspects.popleft()])
            return
        while self.waiting and len(self.running) < self.workers:
            size = min(self.size, -(-len(self.waiting) // self.workers))
            self._submit([self.waiting.popleft() for _ in range(size)])

    def _submit(self, some: list[int]) -> None:
        arguments = attempt_all, self.function, [self.calls[k] for k in some], self.timeout
        try:
            future = _executor(self.workers).submit(*arguments)
        except BrokenExecutor:  # died meanwhile; another is made now
            future = _executor(self.workers).submit(*arguments)
        self.running[future] = some, time.monotonic()

    def _take(self, future: Future[Any]) -> None:
        """Take what came; where a process died, find out whose it was."""
        if future not in self.running:
            return
        some, began = self.running.pop(future)
        error = future.exception()
        if error is None:
            self.found |= dict(zip(some, future.result(), strict=True))
            if time.monotonic() - began < QUICK:  # what is sent takes longer than the calls
                self.size *= 2
        elif len(some) == 1 and not (isinstance(error, BrokenExecutor) and self.running):
            died = isinstance(error, BrokenExecutor)
            self.found[some[0]] = RuntimeError(DIED) if died else error
        else:  # or something that cannot be sent
            self.suspects += some
            if isinstance(error, BrokenExecutor):
                self.suspects += self._abandoned()

    def _abandoned(self) -> list[int]:
        """Return the calls under way, which nobody works on any more."""
        calls = [k for some, _ in self.running.values() for k in some]
        self.running.clear()
        return calls

    def _patience(self) -> float | None:
        """Return how long to wait for the next that is done."""
        if self.timeout is None:
            return None
        return max(0.0, min(map(self._end, self.running.values())) - time.monotonic())

    def _end(self, under_way: tuple[list[int], float]) -> float:
        """Return when a process must have come back."""
        some, began = under_way
        return began + (self.timeout or 0.0) * len(some) + GRACE

    def _give_up(self) -> None:
        """End a process that does not come back; the calls of the others begin again."""
        now = time.monotonic()
        late = [some for some, began in self.running.values() if self._end((some, began)) <= now]
        alone = (some[0] for some in late if len(some) == 1)
        self.found |= {k: too_late(self.timeout or 0.0) for k in alone}
        self.suspects += [k for k in self._abandoned() if k not in self.found]
        self.kill()


def _executor(workers: int) -> Any:
    """Return joblib's executor, started again where it was ended."""
    try:
        from joblib.externals import loky  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            'processes: expected joblib, which the extra "simulators" brings: '
            'pip install "kdediff_jax[simulators]"'
        ) from error
    share = str(max(1, (os.cpu_count() or 1) // workers))
    env = {f"{library}_NUM_THREADS": share for library in THREADS}
    return loky.get_reusable_executor(workers, timeout=IDLE, env=env)
