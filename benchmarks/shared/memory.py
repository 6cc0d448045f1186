"""Memory: what XLA plans for the pairwise core, and what a process or a device held."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import jax
import jax.numpy as jnp

STATUS = Path("/proc/self/status")  # Linux


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
    if jax.default_backend() != "cpu":
        return jax.local_devices()[0].memory_stats()["bytes_in_use"] / 2**20
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mib() -> float:
    """Return the most that was held so far, in MiB, of the same."""
    if jax.default_backend() != "cpu":
        return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20
    return process_peak_mib()


def process_peak_mib() -> float:
    """Return the most that this process held so far, in MiB.

    Linux counts the high-water mark of the process's own memory; `ru_maxrss`, the fallback, starts
    in a child process at what its parent held.
    """
    if STATUS.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
        if found is not None:
            return int(found[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
