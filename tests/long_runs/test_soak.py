"""A long run, killed twenty times: the same bits at the end, and memory flat in its cycles."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from sweep_problem import python_running

import kdediff_jax as kd

CYCLES, KILLS = 100_000, 20
CHILD = """
import resource, sys
import jax, jax.numpy as jnp
import numpy as np
import kdediff_jax as kd
path, cycles, chunk = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = kd.Lorenz63(interval=0.1, substeps=5, noise_std=0.01)
observation = kd.GaussianObservation(kd.Select([2]), 2.0)
ensemble = 10 * jax.random.normal(jax.random.key(1), (100, 3))
_, ys = kd.twin_experiment(jax.random.key(2), model, observation, jnp.ones(3), cycles)
print("start", flush=True)
result = kd.assimilate(
    jax.random.key(0), model, observation, kd.EnKF(inflation=1.02), ensemble, np.asarray(ys),
    checkpoint=path, chunk=chunk, progress=lambda done, total: print(done, flush=True),
)
kd.save_state(result.state, path + ".state")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
"""


def ended(path, cycles, chunk):
    """Run to the end; return the peak of memory in MiB."""
    with python_running(CHILD, path, cycles, chunk) as process:
        lines = process.stdout.read().split()
    assert process.returncode == 0
    return int(lines[-1])


def killed(path, cycles, chunk, seconds, chunks):
    """Kill a run some time after it has done some chunks; say whether it was killed."""
    with python_running(CHILD, path, cycles, chunk) as process:
        for k, _ in enumerate(process.stdout):
            if k == chunks:
                time.sleep(seconds)
                process.kill()
                break
    return process.returncode == -signal.SIGKILL


def soak(folder, cycles, kills, seed=0):
    """Return peaks of memory in MiB: of the whole run, of the tenth of it, of the last part."""
    chunk, dice = cycles // 10, random.Random(seed)
    whole = ended(folder / "whole", cycles, chunk)
    short = ended(folder / "short", chunk, chunk // 10)
    count = 0
    for k in range(kills):
        # most die in the first chunk or while compiling, some get a chunk further
        further = k % max(kills // 6, 1) == 1
        count += killed(folder / "c", cycles, chunk, dice.uniform(0, 6), 1 + further)
    last = ended(folder / "c", cycles, chunk)
    assert count == kills
    for behind in (".state", ".outputs"):
        files = [(folder / f"{name}{behind}").read_bytes() for name in ("whole", "c")]
        assert files[0] == files[1]
    state = kd.load_state(folder / "c.state")
    assert int(state.index) == cycles
    assert sorted(f for f in os.listdir(folder) if f.startswith(".")) == []
    return whole, short, last


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_killed_twenty_times_with_memory_flat(tmp_path):
    whole, short, last = soak(tmp_path, CYCLES, KILLS)
    assert whole < short + 30 and last < short + 30  # MiB; ys and their times are 1 of them
