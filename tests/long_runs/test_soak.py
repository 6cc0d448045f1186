"""A long run, killed twenty times: the same bits at the end, and memory flat in its cycles."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
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
    """Run to the end; return the peak of memory in MiB, and the seconds to the first chunk."""
    with python_running(CHILD, path, cycles, chunk) as process:
        process.stdout.readline()
        began = time.perf_counter()
        process.stdout.readline()
        seconds = time.perf_counter() - began
        lines = process.stdout.read().split()
    assert process.returncode == 0
    return int(lines[-1]), seconds


def killed(path, cycles, chunk, seconds):
    """Start or go on, and kill some time after the start; say whether it had not ended before."""
    with python_running(CHILD, path, cycles, chunk) as process:
        process.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=seconds)
        process.kill()
    return process.returncode == -signal.SIGKILL


def same_files(folder):
    for behind in (".state", ".outputs"):
        one, other = ((folder / f"{name}{behind}").read_bytes() for name in ("whole", "c"))
        assert one == other


def soak(folder, cycles, kills, seed=0):
    """Return peaks of memory in MiB (of all cycles, a tenth, the last part) and what was killed."""
    chunk, dice, path = cycles // 10, random.Random(seed), folder / "c"
    whole, seconds = ended(folder / "whole", cycles, chunk)
    short, _ = ended(folder / "short", chunk, chunk)
    done = []
    while len(done) < kills:
        if killed(path, cycles, chunk, dice.uniform(0, 1.5 * seconds)):
            done.append(path.with_name("c.outputs").stat().st_size if path.exists() else 0)
        else:  # it has ended: again from the start
            same_files(folder)
            kd.long_runs.remove_checkpoint(path)
    last, _ = ended(path, cycles, chunk)
    same_files(folder)
    assert int(kd.load_state(folder / "c.state").index) == cycles
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
    return whole, short, last, done


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_killed_twenty_times_with_memory_flat(tmp_path):
    whole, short, last, _ = soak(tmp_path, CYCLES, KILLS)
    assert whole < short + 30 and last < short + 30  # MiB
