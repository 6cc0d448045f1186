"""Sweeps: the same numbers as a plain loop, in one program, on every device."""

import pickle

import jax
import numpy as np
import pytest
from sweep_problem import GRID, ONE, assert_same, python_running, scores

from kdediff_jax.sweeping import program, sweep
from kdediff_jax.sweeping.grid import combinations


def plain_loop(run, axes):
    points = combinations(axes)
    rows = [run({k: v[i] for k, v in points.items()}) for i in range(len(points["seed"]))]
    shape = tuple(len(axis) for axis in axes.values())
    stack = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    return jax.tree.map(lambda leaf: leaf.reshape(shape + leaf.shape[1:]), stack)


@pytest.mark.parametrize("batch_size", [1, 5, 12, 100, None])
def test_equals_a_plain_loop_whatever_the_batches(batch_size):
    result = sweep(scores, GRID, batch_size=batch_size, devices=ONE)
    expected = plain_loop(jax.jit(scores), result.axes)
    assert jax.tree.structure(result.values) == jax.tree.structure(expected)
    for mine, theirs in zip(jax.tree.leaves(result.values), jax.tree.leaves(expected), strict=True):
        assert isinstance(mine, np.ndarray)
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=2e-6)
    assert result.values["steps"].shape == (3, 4)
    assert result.values["state"]["noise"].shape == (3, 4, 2)
    assert result.batch_size == {None: program.CPU_POINTS, 100: 12}.get(batch_size, batch_size)
    assert result.num_devices == 1
    assert result.run_seconds > 0


def test_traced_once_and_other_values_compile_nothing():
    traces = []

    def run(point):
        traces.append(point)
        return scores(point)

    sweep(run, GRID, batch_size=4, devices=ONE)
    assert len(traces) == 1
    other = {"width": [0.2, 0.9, 0.7], "seed": [30, 10, 40, 50]}
    result = sweep(run, other, batch_size=4, devices=ONE)
    assert len(traces) == 1
    assert result.compile_seconds < 0.5
    assert_same(result.values, sweep(scores, other, batch_size=4, devices=ONE).values)
    sweep(run, GRID, batch_size=5, memory=None, devices=ONE)  # another program, the same trace
    assert len(traces) == 1


def test_function_that_cannot_be_hashed_works():
    class Held:
        __hash__ = None  # like a module that holds arrays
        factor = 2.0

        def __call__(self, point):
            return {"x": self.factor * point["a"]}

    np.testing.assert_array_equal(sweep(Held(), {"a": [1.0, 3.0]}).values["x"], [2, 6])


def test_bad_point_spoils_only_its_own_slot():
    good = sweep(scores, {"width": [0.5, 0.2, 0.3], "seed": [1, 2]}, batch_size=6, devices=ONE)
    bad = sweep(scores, {"width": [0.5, -0.2, 0.3], "seed": [1, 2]}, batch_size=6, devices=ONE)
    assert np.isnan(bad.values["error"][1]).all()
    assert not bad.values["ok"][1].any()
    for name in ("error", "steps", "ok"):
        assert_same(bad.values[name][[0, 2]], good.values[name][[0, 2]])


def test_progress_counts_points_without_padding():
    seen = []
    sweep(
        scores, GRID, batch_size=5, devices=ONE, progress=lambda done, of: seen.append((done, of))
    )
    assert seen == [(5, 12), (10, 12), (12, 12)]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
        ({"batch_size": 2.0}, TypeError, "batch_size: expected an int"),
        ({"memory": 0}, ValueError, "memory: expected a finite positive number"),
        ({"memory": 1}, ValueError, r"memory: expected at least the \d+ bytes .* got 1"),
        ({"memory": 1e9, "batch_size": 2}, ValueError, "memory: expected none beside a batch_size"),
        ({"devices": []}, ValueError, "devices: expected at least one"),
        ({"devices": ["cpu"]}, ValueError, "devices: expected at least one jax device"),
        ({"devices": ONE * 2}, ValueError, "devices: expected each device once"),
        ({"run": 3}, TypeError, "run: expected a function"),
        ({"run": lambda point: {}}, ValueError, "run: expected at least one score"),
        ({"fingerprint": None}, TypeError, "fingerprint: expected a string"),
    ],
)
def test_bad_argument_is_named(changes, error, message):
    with pytest.raises(error, match=message):
        sweep(**{"run": scores, "grid": GRID, **changes})


def test_error_of_the_function_comes_through():
    with pytest.raises(KeyError, match="width"):
        sweep(scores, {"widht": [1.0], "seed": [1]})


TWO_DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
import pickle
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import sys
from kdediff_jax.sweeping import program, sweep
from kdediff_jax.sweeping.grid import check_axes
from sweep_problem import GRID, scores
devices = tuple(jax.local_devices())
result = sweep(scores, GRID, batch_size=5, checkpoint=sys.argv[1])
ours = program.Program(scores, devices, check_axes(GRID)).compile(6).func.as_text()
split = NamedSharding(Mesh(devices, ("batch",)), PartitionSpec("batch"))
inputs = {"width": jax.numpy.ones(6), "seed": jax.numpy.arange(6)}
plain = jax.jit(jax.vmap(scores), in_shardings=split).lower(inputs).compile().as_text()
alone = sweep(scores, {"width": [0.5], "seed": [1]})
with open(sys.argv[2], "wb") as file:
    pickle.dump((result, ours, plain, alone), file)
"""

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def test_two_devices_give_the_same_and_never_talk(tmp_path):
    with python_running(TWO_DEVICES, tmp_path / "c", tmp_path / "out") as process:
        process.communicate()
    assert process.returncode == 0
    result, ours, plain, alone = pickle.loads((tmp_path / "out").read_bytes())
    assert (result.num_devices, result.batch_size) == (2, 6)
    assert (alone.num_devices, alone.batch_size) == (1, 1)
    expected = sweep(scores, GRID, devices=ONE)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), result.values, expected.values
    )
    assert not [word for word in COLLECTIVES if word in ours]
    assert [word for word in COLLECTIVES if word in plain]  # so the test can see them
    with pytest.raises(ValueError, match="num_devices is 2 there, 1 here"):
        sweep(scores, GRID, checkpoint=tmp_path / "c", devices=ONE)
