"""What a long run is given, and how it is cut into chunks of one compiled length."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._fingerprints import digest
from .._interrupts import undisturbed
from ..runs import FilterResult, FilterState

PARTS = 100  # of a run whose chunk is chosen here
Identity = dict[str, Any]


class Series(NamedTuple):
    """A run: its program, its first state, all its measurements.

    Attributes:
        scan: the program, `(state, modules, ys, strides, bound, save)` -> `FilterResult`; of
            `eqx.filter_jit`.
        state: before the first measurement.
        modules: dynamics, observation, analysis.
        ys: measurements [T m], in the ensemble's dtype.
        strides: how to step to each, arrays [T]; None: one interval each.
        bound: see `dynamics.propagate`.
        save: what to store of a cycle.
        outside: digest of what the program does not show, for it runs on the host; empty: nothing.
    """

    scan: Any
    state: FilterState
    modules: tuple[Any, Any, Any]
    ys: Any
    strides: Any
    bound: int | None
    save: Callable[..., Any]
    outside: str = ""

    def on_host(self) -> Series:
        """Return it with measurements that can be cut without a program for each cut.

        The state is one of arrays of JAX from the start: all chunks have one program.
        """
        state = jax.tree.map(jnp.asarray, self.state)
        strides = jax.tree.map(np.asarray, self.strides)
        return self._replace(state=state, ys=np.asarray(self.ys), strides=strides)

    def arguments(self, state: FilterState, start: int, end: int) -> tuple[Any, ...]:
        """Return what the program is called with for the rows from `start` to before `end`."""
        strides = jax.tree.map(lambda each: each[start:end], self.strides)
        return state, self.modules, self.ys[start:end], strides, self.bound, self.save

    def compiled(self, state: FilterState, start: int, end: int) -> Callable[..., FilterResult]:
        """Return the executable for that many rows; a Ctrl-C does not harm its compilation."""
        return undisturbed(self.scan.lower(*self.arguments(state, start, end)).compile)

    def described(self) -> tuple[Identity, Any]:
        """Return what makes this run another than others, and the shapes of a cycle's outputs.

        The digest of the function is that of the program for one cycle, with every number that it
        read from outside, and of the arrays of the modules.
        """
        arguments = self.arguments(self.state, 0, 1)
        if self.bound is not None:  # which later measurements may change, and no result
            arguments = (*arguments[:4], 1, self.save)
        leaves, tree = jax.tree.flatten(arguments[:4])
        known = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves]

        def program(arrays: list[Any]) -> tuple[Any, Any]:
            given = iter(arrays)
            both = [next(given) if k else leaf for k, leaf in zip(known, leaves, strict=True)]
            result = self.scan(*jax.tree.unflatten(tree, both), *arguments[4:])
            return result.saved, result.info

        lowered = jax.jit(program).lower([x for k, x in zip(known, leaves, strict=True) if k])
        held = [x for x in jax.tree.leaves(self.modules) if hasattr(x, "dtype")]
        state = self.state
        identity = {
            "key": digest("", state.key),
            "ensemble": digest("", (state.ensemble, state.reserve)),
            "t0 or origin": digest("", (state.clock, state.index)),
            "function": digest(lowered.as_text(), held),
        }
        if self.outside:
            identity["simulator"] = self.outside
        return identity, jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), lowered.out_info
        )


class Measured:
    """Digests of the measurements so far, and of their times."""

    def __init__(self, series: Series) -> None:
        self._arrays = [series.ys, *jax.tree.leaves(series.strides)]
        self._known = 0, [hashlib.sha256() for _ in self._arrays]

    def until(self, end: int) -> Identity:
        """Return the digests of the rows before `end`, which only grows."""
        start, found = self._known[0], [each.copy() for each in self._known[1]]
        for array, each in zip(self._arrays, found, strict=True):
            each.update(np.ascontiguousarray(array[start:end]).tobytes())
        self._known = end, found  # in one step, whatever interrupts
        ys, *times = (each.hexdigest()[:16] for each in found)
        return {"ys": ys, "times": " ".join(times) or None}


def chunk_of(chunk: int | None, total: int) -> int:
    """Return the number of cycles of a chunk where none is given: about a hundredth of the run.

    One that divides the run, if there is any up to twice as long, for one program is enough then.
    """
    if chunk is not None:
        return chunk
    least = max(2, -(-total // PARTS))
    return next((c for c in range(least, 2 * least + 1) if total % c == 0), least)


def pieces(start: int, total: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of each chunk and the one after its last: two lengths at most.

    A single row at the end goes with the chunk before: XLA has no loop for one cycle, and may
    round otherwise.
    """
    while start < total:
        end = total if start + chunk >= total - 1 else start + chunk
        yield start, end
        start = end
