"""Functions of NumPy arrays: of the whole ensemble, or of one member at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np

from .._checks import count
from .base import AbstractSimulator, Answer, Request, as_row, as_rows, collected, generator_of
from .workers import attempt, in_processes, in_turn_or_threads


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
        generator = None if request.seeds is None else generator_of(request.seeds)

        def call() -> np.ndarray:
            value = self.function(*request.arguments(generator, request.states.copy()))
            return as_rows(value, rows, request)

        outcome = attempt(call)
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
            functions that compute in Python, or that may crash. A process that dies is a failed
            member. The function and its answers are sent by pickle, with cloudpickle's help.

    Raises:
        TypeError: no function, a number of workers that is no int.
        ValueError: fewer than one worker.
    """

    function: Callable[..., Any] = eqx.field(static=True, converter=_function)
    workers: int = eqx.field(static=True, default=1)
    processes: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        """Check the number of workers."""
        count("workers", self.workers)

    def run(self, request: Request) -> Answer:
        """Call the function for every row."""
        call = functools.partial(_call_of_member, self.function)
        rows = request.rows()
        if self.processes:
            outcomes = in_processes(call, rows, self.workers)
        else:
            outcomes = in_turn_or_threads(call, rows, self.workers, _nothing)
        return collected(outcomes, request)


def _call_of_member(function: Callable[..., Any], row: Request) -> np.ndarray:
    """Call the function for a request of one row."""
    generator = None if row.seeds is None else generator_of(row.seeds)
    return as_row(function(*row.arguments(generator, row.states[0].copy())), row)


def _nothing() -> None:
    """Do nothing: a thread that runs Python cannot be ended."""
