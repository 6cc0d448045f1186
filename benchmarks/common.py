"""What every benchmark script shares: timing and the record of where it ran."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from kdediff_jax.results import provenance

RESULTS = Path(__file__).parent / "results"


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


def planned_mib(core, n: int, d: int, *, reverse: bool) -> float:
    """Return the temporaries XLA plans for one call of a core or its gradient, in MiB.

    `core` takes queries, centres, log-weights and tau, and returns a mean or shift and a log-sum.
    """

    def loss(*args):
        mean, log_sum = core(*args)
        return jnp.sum(mean**2) + jnp.sum(log_sum)

    function = jax.grad(loss, (0, 1, 2, 3)) if reverse else core
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((n, d), (n, d), (n,), ())]
    plan = jax.jit(function).lower(*shapes).compile().memory_analysis()
    return plan.temp_size_in_bytes / 2**20


def save(name: str, settings: dict, body: dict, *, seed: int = 0) -> Path:
    """Write `results/NAME.json` with provenance."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = {"provenance": provenance(settings, seed=seed), **body}
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {path}")
    return path
