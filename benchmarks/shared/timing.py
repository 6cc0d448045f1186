"""Timing that a busy machine does not bias."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import jax


class Timed(NamedTuple):
    """Seconds of a call: by the clock, and of all CPU cores together."""

    wall: float
    cpu: float


def interleaved(calls: dict, *, repeats: int = 15, settle: float = 0) -> dict[str, Timed]:
    """Return medians of several calls timed in turn: the machine's drift hits all alike.

    A timed call comes after untimed ones of its own for `settle` seconds: threads of the call
    before may still spin.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            until = time.perf_counter() + settle
            while time.perf_counter() < until:
                jax.block_until_ready(call())
            begin, busy = time.perf_counter(), time.process_time()
            jax.block_until_ready(call())
            times[name].append((time.perf_counter() - begin, time.process_time() - busy))
    return {
        name: Timed(*(statistics.median(each) for each in zip(*values, strict=True)))
        for name, values in times.items()
    }


def interleaved_medians(calls: dict, *, repeats: int = 15, settle: float = 0) -> dict[str, float]:
    """Return the same by the clock alone."""
    found = interleaved(calls, repeats=repeats, settle=settle)
    return {name: timed.wall for name, timed in found.items()}
