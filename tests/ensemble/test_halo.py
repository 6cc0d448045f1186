"""Coordinates over devices: who gets which measurements, and the analyses of one device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.ensemble.halo import plan

SHARED = Path(__file__).with_name("shared_analyses.py")
RING = np.arange(60.0)
ONE = jax.make_mesh((1,), ("coordinates",), devices=jax.local_devices()[:1])


@pytest.mark.parametrize("d, m, devices", [(12, 12, 3), (13, 7, 4), (5, 40, 2), (9, 2, 4)])
def test_each_device_finds_what_its_lists_name_and_receives_nothing_else(d, m, devices):
    rng = np.random.default_rng(d)
    near = np.sort(rng.integers(0, m + 1, (d, 3)), axis=1)  # m fills up
    lists, sent, (block, own) = plan(near, m, devices)
    values = np.pad(np.arange(m), (0, devices * own - m), constant_values=-9)
    values = values.reshape(devices, own)
    for r in range(devices):
        received = [values[(r - s) % devices][rows[(r - s) % devices]] for s, rows in sent.items()]
        has = np.concatenate([values[r], *received, [m]])
        coordinates = np.minimum(np.arange(r * block, (r + 1) * block), d - 1)
        np.testing.assert_array_equal(has[lists[r * block : (r + 1) * block]], near[coordinates])
        # beyond the padding, which repeats a device's first measurement, all of it is named
        for s, rows in zip(sent, received, strict=True):
            assert set(rows) - set(near[coordinates].flat) <= {values[(r - s) % devices][0]}
            named = np.unique(near[coordinates])
            assert set(named[named // own == (r - s) % devices]) - {m} <= set(rows)
    for s, rows in sent.items():  # as short as the neediest device allows
        needs = [
            sum(own * ((r - s) % devices) <= k < min(m, own * ((r - s) % devices + 1)) for k in
                np.unique(near[np.minimum(np.arange(r * block, (r + 1) * block), d - 1)]))
            for r in range(devices)
        ]  # fmt: skip
        assert rows.shape == (devices, max(needs))


def test_a_line_in_order_exchanges_its_reach_and_no_more():
    near = np.clip(np.arange(60)[:, None] + np.arange(-2, 3), 0, 59)
    _, sent, _ = plan(near, 60, 4)
    assert {s: rows.shape[1] for s, rows in sent.items()} == {1: 2, 3: 2}


@pytest.mark.skipif(sys.platform != "linux", reason="virtual devices, tried on Linux")
def test_analyses_and_runs_on_four_devices_are_those_of_one():
    flags = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    done = subprocess.run(
        [sys.executable, str(SHARED)], capture_output=True, text=True, timeout=500,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["analyses"]) == 6
    for name, row in found["analyses"].items():
        # float32: a quantile by bisection, of a flat distribution function, has a few digits fewer
        assert row["difference"] < (2e-4 if "float32" in name else 1e-11), name
        assert row["moved"] > 0.1 and row["ok"] and row["same counts"], name
    run = found["run"]
    assert run["difference"] < 1e-11 and run["split"] and run["ok"]
    # of 12 coordinates each, devices pass on those near their borders
    assert run["halo"] == [12] and run["columns passed on by the model"] < 12
    assert run["gathered"] == []
    assert found["gradient"] < 1e-10


def test_lists_for_devices_need_positions_that_are_known():
    devices = np.array([jax.local_devices()[0], jax.local_devices()[0]])
    mesh = jax.sharding.Mesh(devices, ("coordinates",))

    def lists(radius, **settings):
        where = kd.Localisation(RING, RING, radius, mesh=mesh, **settings)
        return jnp.asarray(kd.LETKF(where).localisation.lists.halo is not None)

    with pytest.raises(ValueError, match="mesh: expected positions, period and the largest radius"):
        jax.eval_shape(lists, 1.0)


def test_a_mesh_serves_an_analysis_at_every_coordinate():
    devices = np.array([jax.local_devices()[0], jax.local_devices()[0]])
    mesh = jax.sharding.Mesh(devices, ("coordinates",))
    moving = kd.MovingNetwork([0.0], RING[None])
    for settings, word in (
        (dict(points=kd.AnalysisBlocks(4.0)), "points"),
        ({}, "a MovingNetwork"),
    ):
        with pytest.raises(ValueError, match=f"mesh: expected an analysis at every .* got {word}"):
            kd.Localisation(RING, RING if settings else moving, 1.0, mesh=mesh, **settings)


def test_a_mesh_of_one_device_is_the_plain_program(key):
    x = jax.random.normal(key, (6, 60))
    observation = kd.GaussianObservation(kd.Identity(), 1.0)
    one, plain = (kd.LETKF(kd.Localisation(RING, RING, 1.0, mesh=m)) for m in (ONE, None))
    assert one.localisation.lists.halo is None
    for got, wanted in zip(*(f(key, x, x[0], observation) for f in (one, plain)), strict=True):
        jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_bad_arguments():
    def of(**kwargs):
        return kd.Localisation(RING, RING, 1.0, **kwargs)

    with pytest.raises(TypeError, match=r"mesh: expected a jax\.sharding\.Mesh, got 2"):
        of(mesh=2)
    with pytest.raises(ValueError, match=r"axis: expected one of \('coordinates',\), got 'x'"):
        of(mesh=ONE, axis="x")
    with pytest.raises(ValueError, match="axis: expected a mesh to go with it, got 'x' alone"):
        of(axis="x")
    assert of(mesh=ONE, axis="coordinates").mesh.devices.size == 1


def test_a_measurement_drawn_outside_of_a_program_is_tied_to_no_device(key):
    observation = kd.GaussianObservation(kd.Identity(), 1.0)
    assert not observation.sample(key, jnp.ones(3), jnp.zeros(())).committed
