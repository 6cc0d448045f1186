"""What the tests of sweeps sweep over, and how they compare what comes out."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

GRID = {"width": [0.5, 0.1, 0.3], "seed": [3, 1, 4, 5]}

ONE = jax.local_devices()[:1]


def scores(point):
    """As an adaptive solve: the number of steps depends on the point; NaN for a negative width."""
    noise = jax.random.normal(jax.random.key(point["seed"]), (2,))
    size, steps = jax.lax.while_loop(
        lambda c: (c[0] > point["width"]) & (c[1] < 500),
        lambda c: (c[0] * jnp.float32(0.97), c[1] + 1),
        (jnp.float32(2), jnp.int32(0)),
    )
    error = jnp.log(point["width"]) * jnp.sum(jnp.exp(noise)) + size
    return {"error": error, "state": {"noise": noise * size}, "steps": steps, "ok": error < 0}


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert jax.tree.structure(a) == jax.tree.structure(b)


def assert_same_file(a, b):
    with np.load(a) as one, np.load(b) as other:
        assert_same(dict(one), dict(other))


def interrupt_after(points):
    def progress(done, total):
        if done >= points:
            raise KeyboardInterrupt

    return progress


def python_running(script, *arguments):
    """Start a Python process that can import what the tests can."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )
