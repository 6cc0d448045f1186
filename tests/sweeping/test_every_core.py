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
