"""The run with host simulators that the tests interrupt, and what a child process does with it."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
from long_run_problem import Nudge

import kdediff_jax as kd

CYCLES = 60
TIMES = np.cumsum(np.random.default_rng(3).choice([0.05, 0.1, 0.25], CYCLES))


def spiral(rng, x, t, interval):
    """Step one member; of a hundred, five fail, each in some way."""
    if rng.random() < 0.05:
        kind = rng.integers(3)
        if kind == 0:
            raise RuntimeError(f"no convergence at t = {t}")
        return np.array([x[0], [np.nan, 1e30][kind - 1]])
    turn = np.array([x[1], -x[0] + 0.1 * np.sin(t)])
    return x + interval * turn + 0.05 * rng.normal(size=2)


def first(rng, X, t):
    return X[:, :1] + 0.5 * rng.normal(size=(len(X), 1))


def arguments(cycles=CYCLES, function=spiral, members=10, **options):
    """Everything that `assimilate` takes without a name."""
    ensemble = jax.random.normal(jax.random.key(1), (members, 2))
    ys = np.random.default_rng(7).normal(size=(cycles, 1)).astype("float32")
    ys[::7] = np.nan
    dynamics = kd.HostDynamics(kd.MemberSimulator(function, **options), 0.1)
    return jax.random.key(0), dynamics, kd.HostObservation(first), Nudge(), ensemble, ys


CHILD = """
import sys
from kdediff_jax.long_runs import record
from host_run_problem import TIMES, arguments
import kdediff_jax as kd
record.SAVE_SECONDS = 0.0
kd.assimilate(*arguments(), times=TIMES, checkpoint=sys.argv[1], save=kd.save_ensembles,
              progress=lambda done, total: print(done, flush=True))
"""

SLEEP = """
import os, sys, time
open(sys.argv[1] + "/" + sys.argv[2], "w").write(str(os.getpid()))
if float(sys.argv[3]) > 0.15 and os.path.exists(sys.argv[1] + "/slow"):
    time.sleep(600)
open("out.txt", "w").write(open("in.txt").read())
"""


def slow_arguments(folder, workers):
    """A run of a program that sleeps in the third cycle as long as there is a file `slow`."""
    program = kd.ProgramSimulator(
        [sys.executable, "-S", "-c", SLEEP, str(folder), "{member}", "{t}"],
        write="in.txt", read="out.txt", workers=workers,
    )  # fmt: skip
    ensemble = jax.random.normal(jax.random.key(1), (3, 2))
    observation = kd.GaussianObservation(kd.Select([0]), 0.5)
    dynamics = kd.HostDynamics(program, 0.1)
    return jax.random.key(0), dynamics, observation, Nudge(), ensemble, jnp.zeros((5, 1))


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
from kdediff_jax.long_runs import record
from host_run_problem import slow_arguments
import kdediff_jax as kd
record.SAVE_SECONDS = 0.0
signal.signal(signal.SIGINT, signal.default_int_handler)
folder, workers = Path(sys.argv[1]), int(sys.argv[2])
def progress(done, total):
    if done == 2:  # the third is what sleeps
        for each in folder.glob("[0-9]"):
            each.unlink()
        threading.Thread(target=interrupt, daemon=True).start()
def interrupt():
    while len(list(folder.glob("[0-9]"))) < min(workers, 3):
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
kd.assimilate(*slow_arguments(folder, workers), checkpoint=folder / "c", progress=progress)
"""
