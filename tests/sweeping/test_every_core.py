"""A sweep in a script uses the devices that the command line uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys, warnings
from kdediff_jax.sweeping import program
program.available_cores = lambda: 3
import jax, jax.numpy as jnp
import kdediff_jax as kd
exec(sys.argv[1])
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    found = kd.sweep(lambda point: {"score": point["x"]}, {"x": [0.0, 1.0, 2.0, 3.0]})
told = [str(w.message) for w in told if w.filename == "<string>"]
print(json.dumps([found.num_devices, told, found.values["score"].tolist()]))
"""


@pytest.mark.parametrize(
    ("before", "devices", "warned"),
    [
        ("pass", 3, False),
        ("kd.use_every_core(); jax.random.key(0)", 3, False),
        ("jax.random.key(0)", 1, True),
        ("jax.random.key(0); assert not kd.use_every_core()", 1, True),
        ("jax.config.update('jax_num_cpu_devices', 2); jax.random.key(0)", 2, False),
    ],
)
def test_devices_of_a_script(before, devices, warned):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, before], capture_output=True, text=True, check=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    found, told, scores = json.loads(done.stdout)
    assert found == devices and scores == [0, 1, 2, 3]
    assert len(told) == warned and all("call kd.use_every_core() first" in text for text in told)


@pytest.mark.parametrize(("told", "threads"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "2"}, "2")])
def test_the_linear_algebra_library_starts_no_threads_beside_the_devices(told, threads):
    """It reads the variable when it is loaded, which JAX does at the first decomposition."""
    script = """
import os, sys
import jax.numpy as jnp
import kdediff_jax as kd
assert kd.use_every_core() and "scipy.linalg" not in sys.modules
jnp.linalg.eigh(jnp.eye(2))
assert "scipy.linalg" in sys.modules
print(os.environ["OPENBLAS_NUM_THREADS"])
"""
    env = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**env, **told, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.stdout.strip() == threads
