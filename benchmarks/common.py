"""What every benchmark script shares: timing and the record of where it ran."""

from __future__ import annotations

import json
import resource
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

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


def gradient(core):
    """Return the gradient of a scalar of a core with respect to all of its four arguments."""

    def loss(*args):
        mean, log_sum = core(*args)
        return jnp.sum(mean**2) + jnp.sum(log_sum)

    return jax.grad(loss, (0, 1, 2, 3))


def planned_mib(core, n: int, d: int, *, reverse: bool) -> float:
    """Return the temporaries XLA plans for one call of a core or its gradient, in MiB.

    `core` takes queries, centres, log-weights and tau, and returns a mean or shift and a log-sum.
    """
    function = gradient(core) if reverse else core
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((n, d), (n, d), (n,), ())]
    plan = jax.jit(function).lower(*shapes).compile().memory_analysis()
    return plan.temp_size_in_bytes / 2**20


def held_mib() -> float:
    """Return what is held now, in MiB: by this process on a CPU, elsewhere on the device."""
    if jax.default_backend() == "cpu":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    return jax.local_devices()[0].memory_stats()["bytes_in_use"] / 2**20


def peak_mib() -> float:
    """Return the most that was held so far, in MiB, of the same."""
    if jax.default_backend() == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20


def exact(points, centres, log_weights, tau) -> tuple[np.ndarray, np.ndarray]:
    """Return the core's means and log-sums at some points, by NumPy in float64."""
    points, centres, log_weights = (
        np.asarray(a, np.float64) for a in (points, centres, log_weights)
    )
    means, log_sums = np.empty_like(points), np.empty(len(points))
    for i, point in enumerate(points):
        logits = log_weights - 0.5 * ((point - centres) ** 2).sum(axis=1) / float(tau) ** 2
        weights = np.exp(logits - logits.max())
        means[i] = weights @ centres / weights.sum()
        log_sums[i] = logits.max() + np.log(weights.sum())
    return means, log_sums


def save(name: str, settings: dict, body: dict, *, seed: int = 0) -> Path:
    """Write `results/NAME.json` with provenance."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = {"provenance": provenance(settings, seed=seed), **body}
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {path}")
    return path
