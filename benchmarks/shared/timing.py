"""Timing that a busy machine does not bias."""

from __future__ import annotations

import statistics
import time

import jax


def interleaved_medians(calls: dict, *, repeats: int = 15, settle: float = 0) -> dict[str, float]:
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
            begin = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}
