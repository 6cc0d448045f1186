"""The page's script for several processes, and a sweep over both: the numbers of one."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import kdediff_jax as kd

SWEEP = """
swept = kd.sweep(
    lambda point: {"square": point["x"] ** 2}, {"x": np.arange(5.0)}, devices=mesh, batch_size=2,
    checkpoint=sys.argv[3],
)
again = kd.sweep(  # all of it from the file
    lambda point: {"square": point["x"] ** 2}, {"x": np.arange(5.0)}, devices=jax.devices(),
    checkpoint=sys.argv[3],
)
print("SWEPT", swept.values["square"].tolist(), again.values["square"].tolist())
"""
PAGE = Path(__file__).parents[2] / "docs" / "pages" / "devices.md"


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@pytest.mark.skipif(sys.platform != "linux", reason="gloo, tried on Linux")
def test_two_processes_print_the_numbers_of_one(tmp_path):
    (script,) = re.findall(r"```text\n(# two_processes.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path / "two_processes.py"
    path.write_text(script + SWEEP)
    flags = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    port = str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, str(path), str(process), port, str(tmp_path / "sweep.npz")],
            env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for process in range(2)
    ]  # fmt: skip
    try:
        printed = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], printed[0][1][-3000:]
    squares = [0.0, 1.0, 4.0, 9.0, 16.0]
    for text, _ in printed:
        assert text.splitlines()[-1] == f"SWEPT {squares} {squares}"
    lines = [re.findall(r"^2 \(3, 60\) (\[.*\])$", text, re.MULTILINE) for text, _ in printed]
    assert [len(found) for found in lines] == [1, 0]

    rng, d = np.random.default_rng(0), 60
    members = (8 + rng.normal(size=(10, d))).astype(np.float32)
    ys = (8 + rng.normal(size=(3, d))).astype(np.float32)
    where = kd.Localisation(np.arange(60.0), np.arange(60.0), 2.0, period=60.0)
    observation = kd.GaussianObservation(kd.Identity(), 1.0)
    model = kd.Lorenz96(interval=0.05)
    one = kd.assimilate(jax.random.key(0), model, observation, kd.LETKF(where), members, ys)
    np.testing.assert_allclose(json.loads(lines[0][0]), np.sum(one.mean, axis=1), rtol=1e-6)
