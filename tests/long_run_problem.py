"""The run that the tests of long runs interrupt, and what a child process does with it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd

CYCLES = 24


class Spiral(kd.AbstractDynamics):
    """A cheap model with noise and a clock."""

    interval: float = 0.1
    noise: float = 0.05

    def step(self, key, x, t, interval=None):
        h = self.interval if interval is None else interval
        turn = jnp.stack([x[1], -x[0] + 0.1 * jnp.sin(t)])
        return x + h * turn + self.noise * jax.random.normal(key, x.shape, x.dtype)


class Nudge(kd.AbstractAnalysis):
    """A scheme that compiles quickly: members are pulled towards the measurement, with noise."""

    strength: float = 0.3

    def analyse(self, key, forecast, alive, y, observation, t):
        noise = 0.1 * jax.random.normal(key, forecast.shape, forecast.dtype)
        pull = jnp.where(jnp.isnan(y), 0, y)[0] - forecast[:, :1]
        moved = forecast + self.strength * (pull + noise)
        return kd.Outcome(moved, moved.mean(axis=0), jnp.asarray(2.0, forecast.dtype), alive)


def measurements(cycles=CYCLES):
    """Measurements on the host, some of them missing."""
    ys = np.random.default_rng(7).normal(size=(cycles, 1)).astype("float32")
    ys[::7] = np.nan
    return ys


def arguments(cycles=CYCLES, members=10, dtype="float32"):
    """Everything that `assimilate` takes without a name."""
    ensemble = jax.random.normal(jax.random.key(1), (members, 2), dtype)
    observation = kd.GaussianObservation(kd.Select([0]), 0.5)
    return jax.random.key(0), Spiral(), observation, Nudge(), ensemble, measurements(cycles)


def same(a, b):
    """Assert that two results are equal bit for bit, random keys included."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


CHILD = """
import sys
from kdediff_jax.long_runs import record
from long_run_problem import arguments
import kdediff_jax as kd
record.SAVE_SECONDS = 0.0
path, cycles, chunk = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kd.assimilate(*arguments(cycles), checkpoint=path, chunk=chunk,
              progress=lambda done, total: print(done, flush=True))
"""
