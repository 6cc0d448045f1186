"""What a simulator on the host is asked, and what it answers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from .._remote import Call


class Request(NamedTuple):
    """Simulations to run, one per row.

    Attributes:
        states: x of each row [k d].
        members: number of the member that each row belongs to.
        draws: which simulation of that member it is, counted from 0.
        seeds: words of each row's random key [k w]; None where nothing is random.
        t: model time, as `step` and `sample` of a JAX model get it; None for an operator.
        interval: model time to cover; None where nothing is stepped.
        size: number of components that each answer must have; None for any, the same for all.
        cycle: number of the cycle.
        part: what of the cycle this is, such as "step-0" or "measurement".
    """

    states: np.ndarray
    members: Sequence[int]
    draws: Sequence[int]
    seeds: np.ndarray | None
    t: float | None
    interval: float | None
    size: int | None
    cycle: int
    part: str

    def rows(self) -> list[Request]:
        """Return a request for each row by itself."""
        every = range(self.states.shape[0])
        return [
            self._replace(
                states=self.states[k : k + 1],
                members=[self.members[k]],
                seeds=None if self.seeds is None else self.seeds[k : k + 1],
                draws=[self.draws[k]],
            )
            for k in every
        ]

    def call(self) -> Call:
        """Return what a user's function of all rows is called with.

        `(rng, X, t, interval)` for dynamics, `(rng, X, t)` for a measurement, `(X,)` for an
        operator.
        """
        return Call(self.seeds, (self.states, *self._times()))

    def call_of_member(self) -> Call:
        """Return what a function of one member is called with, for a request of one row."""
        return Call(self.seeds, (self.states[0], *self._times()))

    def called_as(self, what: str) -> str:
        """Return how a user's function was called, for an error's reader."""
        names = ["rng", what, "t", "interval"] if self.seeds is not None else [what]
        if self.seeds is not None and self.interval is None:
            names.pop()
        draws = len(self.members) // max(1, len(set(self.members)))
        each = f", {draws} draws of each" if draws > 1 else ""
        shape = f"(d,) = ({self.states.shape[1]},), of one member"
        if what == "X":
            shape = f"(n, d) = {self.states.shape}, of all members{each}"
        return f"kdediff_jax: it was called as function({', '.join(names)}) with {what} {shape}"

    def _times(self) -> tuple[float, ...]:
        if self.seeds is None:
            return ()
        return tuple(each for each in (self.t, self.interval) if each is not None)


class Answer(NamedTuple):
    """What came back.

    Attributes:
        values: of each row [k size], NaN where it failed.
        errors: by row, what failed.
    """

    values: np.ndarray
    errors: dict[int, Exception]


class AbstractSimulator(eqx.Module):
    """Something on the host that simulates members.

    The role that it has (`HostDynamics`, `HostObservation`, `HostOperator`) says what is simulated.
    """

    @abc.abstractmethod
    def run(self, request: Request) -> Answer:
        """Run all simulations; one that fails is an error of its row, never an exception."""


def as_rows(value: Any, rows: int, request: Request) -> np.ndarray:
    """Return what a simulator gave for all rows as numbers [rows size], in the ensemble's dtype.

    Raises:
        TypeError: something other than real numbers.
        ValueError: another shape.
    """
    return _as_numbers(value, (rows, request.size), request)


def as_row(value: Any, request: Request) -> np.ndarray:
    """Return what a simulator gave for one member as numbers [size], see `as_rows`."""
    return _as_numbers(value, (request.size,), request)


def _as_numbers(value: Any, shape: tuple[int | None, ...], request: Request) -> np.ndarray:
    """Return numbers of a shape; None stands for any length but 0."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise TypeError(
            "expected the simulator to return real numbers in one array, got a "
            f"{type(value).__name__} of unlike parts"
        ) from error
    if array.dtype.kind not in "fiu":
        raise TypeError(f"expected the simulator to return real numbers, got {_kind(value, array)}")
    fits = array.ndim == len(shape) and array.size > 0
    if not fits or any(n not in (None, k) for n, k in zip(shape, array.shape, strict=True)):
        expected = ", ".join("m" if n is None else str(n) for n in shape)
        expected += "," if len(shape) == 1 else ""
        flat = array.ndim == len(shape) - 1 and array.shape == shape[:-1]
        one = ": each member has a vector, also of one component" if flat else ""
        hint = f"{one} (`X[..., :1]` in place of `X[..., 0]`)" if flat else ""
        raise ValueError(
            f"expected the simulator to return shape ({expected}), got {array.shape}{hint}"
        )
    with np.errstate(over="ignore"):  # too large for the ensemble's dtype is not finite
        return array.astype(request.states.dtype)


def _kind(value: Any, array: np.ndarray) -> str:
    if value is None:
        return "None: does the function end with `return`?"
    return type(value).__name__ if array.dtype.kind == "O" else f"dtype {array.dtype}"


def collected(outcomes: Sequence[Any], request: Request) -> Answer:
    """Return the answer of rows that came one by one, an exception in place of what failed."""
    errors = {k: each for k, each in enumerate(outcomes) if isinstance(each, Exception)}
    size = request.size
    for k, row in enumerate(outcomes):
        if k in errors:
            continue
        size = row.shape[0] if size is None else size
        if row.shape != (size,):
            errors[k] = ValueError(f"expected shape ({size},) as of other members, got {row.shape}")
    values = np.full((len(outcomes), 1 if size is None else size), np.nan, request.states.dtype)
    for k, row in enumerate(outcomes):
        if k not in errors:
            values[k] = row
    return Answer(values, errors)
