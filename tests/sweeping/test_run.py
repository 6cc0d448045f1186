"""Sweeps: the same numbers as a plain loop, one program, and nothing lost to an interruption."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import results
from kdediff_jax.sweeping import SweepResult, checkpoint, program, select, sweep
from kdediff_jax.sweeping import run as running
from kdediff_jax.sweeping.grid import check_axes, combinations

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


def plain_loop(run, axes):
    points = combinations(axes)
    rows = [run({k: v[i] for k, v in points.items()}) for i in range(len(points["seed"]))]
    shape = tuple(len(axis) for axis in axes.values())
    stack = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    return jax.tree.map(lambda leaf: leaf.reshape(shape + leaf.shape[1:]), stack)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert jax.tree.structure(a) == jax.tree.structure(b)


def assert_same_file(a, b):
    with np.load(a) as one, np.load(b) as other:
        assert_same(dict(one), dict(other))


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


def test_axes_keep_their_kind(dtype):
    seen = {}

    def run(point):
        seen.update({name: (value.dtype, value.shape) for name, value in point.items()})
        return {"x": point["a"]}

    result = sweep(run, {"a": np.array([2.0, 1.0]), "n": range(3), "b": jnp.array([7])})
    assert seen == {"a": (dtype, ()), "n": (jnp.int32, ()), "b": (jnp.int32, ())}
    assert list(result.axes) == ["a", "n", "b"]
    np.testing.assert_array_equal(result.axes["a"], np.array([2, 1], dtype))
    np.testing.assert_array_equal(result.values["x"][:, 0, 0], [2, 1])


def test_first_axis_varies_slowest():
    points = combinations(check_axes({"width": [0.5, 0.1], "seed": [3, 1, 4]}))
    assert points["seed"].tolist() == [3, 1, 4, 3, 1, 4]
    np.testing.assert_array_equal(points["width"], np.float32([0.5] * 3 + [0.1] * 3))


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
    ("grid", "error", "message"),
    [
        ({}, ValueError, "grid: expected at least one axis"),
        ([("a", [1.0])], TypeError, "grid: expected a mapping"),
        ({1: [1.0]}, TypeError, "axis names that are strings, got 1"),
        ({"a": []}, ValueError, r"grid\['a'\]: expected at least one value"),
        ({"a": 0.5}, ValueError, r"grid\['a'\]: expected a 1-D list of values, got shape \(\)"),
        ({"a": [[0.5]]}, ValueError, r"1-D list of values, got shape \(1, 1\)"),
        ({"a": [[0.5], [1.0, 2.0]]}, ValueError, r"grid\['a'\]: expected a list of numbers"),
        ({"a": ["x"]}, TypeError, r"grid\['a'\]: expected ints or floats, got \['x'\]"),
        ({"a": [True]}, TypeError, "expected ints or floats"),
        ({"a": [1.0, np.nan]}, ValueError, "expected finite float32 values"),
        ({"a": [1e300]}, ValueError, "expected finite float32 values"),
        ({"a": [2**31]}, ValueError, "fit into int32"),
        ({"a": [0.5, 1.0, 0.5]}, ValueError, r"each value once, got \[0.5\] several times"),
    ],
)
def test_bad_grid_is_named(grid, error, message):
    with pytest.raises(error, match=message):
        sweep(scores, grid)


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


def test_memory_caps_the_batch():
    axes = check_axes(GRID)
    compiled = program.Program(scores, tuple(ONE), axes)
    for points in (1, 2, 3):
        memory = compiled.bytes(points)
        size = program.choose_batch(compiled, 12, tuple(ONE), memory)
        assert 1 <= size <= points
        assert compiled.bytes(size) <= memory
    result = sweep(scores, GRID, memory=compiled.bytes(1), devices=ONE)
    assert result.batch_size == 1
    assert_same(result.values["steps"], sweep(scores, GRID, devices=ONE).values["steps"])


class Accelerator(NamedTuple):
    """A device that is no CPU, as far as the choice of the batch can see."""

    stats: dict | None
    platform: str = "gpu"

    def memory_stats(self):
        return self.stats


class Sized(NamedTuple):
    """A program that needs a little more than in proportion."""

    per_point: int
    num: int

    def bytes(self, batch_size):
        return int(self.per_point * (batch_size // self.num) ** 1.1)


@pytest.mark.parametrize("num", [1, 4])
@pytest.mark.parametrize("stats", [None, {}, {"bytes_limit": 1000}])
def test_batch_fills_half_an_accelerator(stats, num):
    limit = 500 if stats else program.DEFAULT_MEMORY
    devices = (Accelerator(stats),) * num
    compiled = Sized(limit // 10, num)
    size = program.choose_batch(compiled, 1000, devices, None)
    assert size % num == 0
    assert compiled.bytes(size) <= limit < compiled.bytes(size + 2 * num)
    assert program.choose_batch(compiled, 3, devices, None) == (3 if num == 1 else 4)
    with pytest.raises(ValueError, match="memory: expected at least"):
        program.choose_batch(Sized(limit + 1, num), 3, devices, None)


def interrupt_after(points):
    def progress(done, total):
        if done >= points:
            raise KeyboardInterrupt

    return progress


def test_interrupted_sweep_goes_on_bit_for_bit(tmp_path):
    whole = sweep(scores, GRID, batch_size=5, devices=ONE, checkpoint=tmp_path / "whole")
    path = tmp_path / "deep" / "part"  # neither the folder exists, nor is .npz appended
    keep = {"checkpoint": path, "devices": ONE}
    with pytest.raises(KeyboardInterrupt):
        sweep(scores, GRID, batch_size=5, **keep, progress=interrupt_after(5))
    header, leaves = checkpoint.read(path)
    assert (header["finished_batches"], len(leaves[0])) == (1, 5)
    seen = []
    with pytest.raises(KeyboardInterrupt):  # the stored batch size is adopted
        sweep(scores, GRID, **keep, progress=interrupt_after(10))
    back = sweep(scores, GRID, **keep, progress=lambda *counts: seen.append(counts))
    assert seen == [(12, 12)]
    assert back.batch_size == 5
    assert_same(back.values, whole.values)
    assert_same_file(path, tmp_path / "whole")
    assert sorted(os.listdir(tmp_path)) == ["deep", "whole"]
    assert os.listdir(path.parent) == ["part"]


def test_complete_file_is_returned_without_running(tmp_path, monkeypatch):
    keep = {"checkpoint": tmp_path / "c", "devices": ONE}
    first = sweep(scores, GRID, **keep)
    before = (tmp_path / "c").stat()
    monkeypatch.setattr(program.Program, "compile", None)
    again = sweep(scores, GRID, **keep)
    assert_same(again.values, first.values)
    assert_same(again.axes, first.axes)
    assert (tmp_path / "c").stat().st_mtime_ns == before.st_mtime_ns


def test_batches_are_saved_every_few_seconds(tmp_path, monkeypatch):
    path, seen = tmp_path / "c", []

    def progress(done, total):
        seen.append(checkpoint.read(path)[0]["finished_batches"])

    sweep(scores, GRID, batch_size=4, checkpoint=path, progress=progress, devices=ONE)
    monkeypatch.setattr(running, "SAVE_SECONDS", 0.0)
    path.unlink()
    sweep(scores, GRID, batch_size=4, checkpoint=path, progress=progress, devices=ONE)
    assert seen == [0, 0, 0, 1, 2, 3]


def test_unwritable_folder_shows_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    seen = []
    with pytest.raises(OSError):
        sweep(
            scores,
            GRID,
            checkpoint=tmp_path / "file" / "c",
            progress=lambda *counts: seen.append(counts),
        )
    assert seen == []


def test_low_precision_scores_survive_the_file(tmp_path):
    def run(point):
        return {"x": point["a"].astype(jnp.bfloat16), "none": None}

    keep = {"grid": {"a": [0.1, 0.2]}, "checkpoint": tmp_path / "c"}
    first, again = sweep(run, **keep), sweep(run, **keep)
    assert again.values["x"].dtype == jnp.bfloat16
    assert again.values["none"] is None
    assert_same(first.values["x"].view(np.uint16), again.values["x"].view(np.uint16))


def other_scores(point):
    return {"error": point["width"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {**GRID, "width": [0.5, 0.1, 0.4]}}, r"axes is \['width', .*0.30.*0.40"),
        ({"grid": dict(reversed(GRID.items()))}, "axes is .*width.* there, .*seed.* here"),
        ({"grid": {**GRID, "more": [1]}}, "axes is .* there, .*more.* here"),
        ({"fingerprint": "B"}, "fingerprint is A there, B here"),
        ({"run": other_scores}, "tree is .*steps.* there, .*error.* here"),
        ({"batch_size": 4}, "batch_size is 5 there, 4 here"),
    ],
)
def test_other_sweep_is_refused_and_the_file_kept(changes, message, tmp_path):
    path = tmp_path / "c"
    call = {"run": scores, "grid": GRID, "batch_size": 5, "fingerprint": "A", "checkpoint": path}
    with pytest.raises(KeyboardInterrupt):
        sweep(**call, devices=ONE, progress=interrupt_after(5))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint: .*c belongs to another sweep: {message}"):
        sweep(**{**call, **changes}, devices=ONE)
    assert path.read_bytes() == before


def test_other_number_of_devices_is_refused(tmp_path):
    path = tmp_path / "c"
    sweep(scores, GRID, checkpoint=path, devices=ONE)
    header, leaves = checkpoint.read(path)
    checkpoint.write(path, {**header, "num_devices": 2}, header["finished_batches"], leaves)
    with pytest.raises(ValueError, match="num_devices is 2 there, 1 here"):
        sweep(scores, GRID, checkpoint=path, devices=ONE)


def damage(kind, path):
    content = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("my notes")
    elif kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "flipped":
        where = content.index(b"NUMPY", content.index(b"leaf_0")) + 130
        path.write_bytes(content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :])
    elif kind == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "foreign":
        with path.open("wb") as file:
            np.savez(file, x=np.zeros(3))
    elif kind == "newer":
        header, leaves = checkpoint.read(path)
        original, checkpoint.FORMAT_VERSION = checkpoint.FORMAT_VERSION, 99
        checkpoint.write(path, header, 1, leaves)
        checkpoint.FORMAT_VERSION = original
    elif kind == "short":
        header, leaves = checkpoint.read(path)
        checkpoint.write(path, header, header["finished_batches"], [a[:1] for a in leaves])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "is damaged"),
        ("text", "is damaged .* or no .npz"),
        ("truncated", "is damaged"),
        ("flipped", "is damaged: Bad CRC"),
        ("array", "no .npz"),
        ("foreign", "is not a sweep's checkpoint"),
        ("newer", "version 99"),
        ("short", "do not fit"),
    ],
)
def test_damaged_or_foreign_file_is_refused_and_kept(kind, message, tmp_path):
    path = tmp_path / "c"
    sweep(scores, GRID, checkpoint=path, devices=ONE)
    damage(kind, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint: .*c .*{message}"):
        sweep(scores, GRID, checkpoint=path, devices=ONE)
    assert path.read_bytes() == before


def subprocess_of(script, *arguments):
    head = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-c", head + script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parent.parent,
    )


KILLED = """
import time
from test_sweep import GRID, ONE, running, scores, sweep
running.SAVE_SECONDS = 0.0
def progress(done, total):
    print(done, flush=True)
    time.sleep(0.2)
sweep(scores, GRID, batch_size=2, devices=ONE, checkpoint=sys.argv[1], progress=progress)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_killed_process_loses_nothing_that_was_finished(tmp_path):
    path, whole = tmp_path / "part", tmp_path / "whole"
    with subprocess_of(KILLED, path) as process:
        for line in process.stdout:
            if int(line) >= 6:
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    assert 3 <= checkpoint.read(path)[0]["finished_batches"] < 6
    expected = sweep(scores, GRID, batch_size=2, devices=ONE, checkpoint=whole)
    resumed = sweep(scores, GRID, checkpoint=path, devices=ONE)
    assert_same(resumed.values, expected.values)
    assert_same_file(path, whole)


TWO_DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
import pickle
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from test_sweep import GRID, program, scores, sweep, check_axes
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
    with subprocess_of(TWO_DEVICES, tmp_path / "c", tmp_path / "out") as process:
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


def swept(score, **axes):
    axes = check_axes(axes)
    return SweepResult(axes, {"w2": np.asarray(score), "vector": np.zeros((2, 3))}, 0, 0, 1, 1)


def test_select_averages_and_minimises():
    result = swept([[3.0, 5.0], [1.0, 5.0], [2.0, np.nan]], width=[0.1, 0.2, 0.3], seed=[1, 2])
    chosen, means = select(result, "w2")
    assert chosen == {"width": pytest.approx(0.2)}
    np.testing.assert_array_equal(means, [4, 3, np.nan])
    chosen, means = select(result, "w2", mean_over=())
    assert chosen == {"width": pytest.approx(0.2), "seed": 1}
    assert means.shape == (3, 2)
    assert select(result, "w2", mean_over="width") == (
        {"seed": 1},
        pytest.approx([2, np.nan], nan_ok=True),
    )


@pytest.mark.parametrize(
    ("score", "mean_over", "message"),
    [
        ("w22", ("seed",), "score: expected one of .* did you mean 'w2'"),
        ("w2", ("sead",), "mean_over: expected one of .* did you mean 'seed'"),
        ("vector", "seed", r"score: expected one number per point \(2, 2\), got \(2, 3\)"),
        ("w2", "seed", "'w2' is a number, got NaN everywhere"),
    ],
)
def test_select_names_what_is_wrong(score, mean_over, message):
    result = swept([[1.0, np.nan], [np.nan, 2.0]], width=[0.1, 0.2], seed=[1, 2])
    with pytest.raises(ValueError, match=message):
        select(result, score, mean_over=mean_over)


class Pair(NamedTuple):
    mean: np.ndarray
    ess: np.ndarray


def test_dataset_round_trip(tmp_path):
    xr = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    result = sweep(scores, GRID, devices=ONE)
    values = {**result.values, "pair": Pair(np.ones((3, 4)), np.ones((3, 4, 2, 5)))}
    ds = results.sweep_dataset(result.axes, values, {"experiment": "toy", "batch_size": 4})
    back = results.read(results.write(ds, tmp_path / "sweep.nc"))
    xr.testing.assert_identical(back, ds)
    assert back["error"].dims == ("width", "seed")
    assert back["state_noise"].dims == ("width", "seed", "state_noise_0")
    assert back["pair_ess"].dims[2:] == ("pair_ess_0", "pair_ess_1")
    assert back["ok"].dtype == bool
    assert back["seed"].dtype == np.int32
    np.testing.assert_array_equal(back["error"].sel(seed=4), result.values["error"][:, 2])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"e": np.zeros((2, 1))}, r"e: expected a shape that begins with \(2, 3\), got \(2, 1\)"),
        ({"a": np.zeros((2, 3))}, "expected each name once, got 'a' twice"),
        ({"e": {"f": np.zeros((2, 3))}, "e_f": np.zeros((2, 3))}, "got 'e_f' twice"),
    ],
)
def test_dataset_names_what_is_wrong(values, message):
    pytest.importorskip("xarray")
    with pytest.raises(ValueError, match=message):
        results.sweep_dataset({"a": [1.0, 2.0], "b": [1, 2, 3]}, values, {})
