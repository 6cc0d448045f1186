"""Functions of NumPy arrays: of the whole ensemble, or of one member at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np

from .._checks import count, positive
from .base import AbstractSimulator, Answer, Request, as_row, as_rows, collected
from .processes import in_processes
from .workers import attempt, in_turn_or_threads


def _function(value: Any) -> Callable[..., Any]:
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"function: expected a function of NumPy arrays, got {value!r}")
    return value


class ArraySimulator(AbstractSimulator):
    """A NumPy function of all members at once, X [n d] -> [n d], or [n m] for a measurement.

    The role says how it is called: `function(rng, X, t, interval)` steps every row of X from t to
    t + interval, `function(rng, X, t)` measures every row at t, noise included, and `function(X)`
    is h of every row. `rng` is a NumPy Generator, seeded by the cycle's key. The rows are those of
    the members that are sound: n may be smaller than the ensemble.

    An exception is a failure of all members at once; where members can fail by themselves, return
    NaN in their rows, or use `MemberSimulator`.

    Args:
        function: see above; it gets arrays of the ensemble's dtype, its own to change.

    Raises:
        TypeError: no function.
    """

    function: Callable[..., Any] = eqx.field(static=True, converter=_function)

    def run(self, request: Request) -> Answer:
        """Call the function once."""
        rows = request.states.shape[0]

        def call() -> np.ndarray:
            return as_rows(request.call().made(self.function), rows, request)

        outcome = attempt(call)
        if isinstance(outcome, Exception):
            outcome.add_note(request.called_as("X"))
        return collected([outcome] * rows if isinstance(outcome, Exception) else outcome, request)


class MemberSimulator(AbstractSimulator):
    """A Python function of one member at a time, x [d] -> [d], or [m] for a measurement.

    Called as the function of `ArraySimulator` is, with one member's x in place of X. Each call has
    a Generator of its own, seeded by the member's key: results do not depend on the number of
    workers. A member whose call raises an exception has failed; the others go on.

    Args:
        function: see above.
        workers: calls that run at the same time, in threads: for functions that wait, or that leave
            Python's lock (much of NumPy and SciPy). One: one after the other.
        processes: whether the workers are processes (through joblib, the extra `simulators`): for
            functions that compute in Python, or that may crash or hang. A process that dies is a
            failed member. The function and its answers are sent by pickle, with cloudpickle's help.
        timeout: seconds after which a call has failed, from its own start; None: never. For
            `processes` alone: a thread cannot be ended from outside, and a function that hangs in
            one, or without workers, hangs the run. A call that Python cannot interrupt (compiled
            code that does not come back; on Windows any) is ended with its process half a minute
            later. What a time-out ends depends on the machine's load: give it generously, or two
            runs will differ.

    Raises:
        TypeError: no function, a number of workers that is no int.
        ValueError: fewer than one worker; a time-out that is not positive, or without processes.
    """

    function: Callable[..., Any] = eqx.field(static=True, converter=_function)
    workers: int = eqx.field(static=True, default=1)
    processes: bool = eqx.field(static=True, default=False)
    timeout: float | None = eqx.field(static=True, default=None, kw_only=True)

    def __check_init__(self) -> None:
        """Check the options."""
        count("workers", self.workers)
        if self.timeout is None:
            return
        positive("timeout", self.timeout)
        if not self.processes:
            raise ValueError(
                "timeout: expected `processes=True` beside it (and joblib, of the extra "
                f'"simulators"), got {self.timeout!r} with threads: a thread cannot be ended from '
                "outside, so that a function that hangs would hang the run"
            )

    def run(self, request: Request) -> Answer:
        """Call the function for every row."""
        rows = request.rows()
        if self.processes:
            calls = [row.call_of_member() for row in rows]
            values = in_processes(self.function, calls, self.workers, self.timeout)
            outcomes = [attempt(_answer, value, request) for value in values]
        else:

            def call(row: Request) -> np.ndarray:
                return as_row(row.call_of_member().made(self.function), row)

            outcomes = in_turn_or_threads(call, rows, self.workers, _nothing)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                outcome.add_note(request.called_as("x"))
        return collected(outcomes, request)


def _answer(value: Any, request: Request) -> np.ndarray:
    """Return what came from another process, or raise what it sent."""
    if isinstance(value, Exception):
        raise value
    return as_row(value, request)


def _nothing() -> None:
    """Do nothing: a thread that runs Python cannot be ended."""
