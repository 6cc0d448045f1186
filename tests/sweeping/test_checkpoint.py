"""Checkpoints of sweeps: nothing is lost to an interruption, nothing foreign is continued."""

import os
import signal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from sweep_problem import (
    GRID,
    ONE,
    assert_same,
    assert_same_file,
    interrupt_after,
    python_running,
    scores,
)

from kdediff_jax.sweeping import checkpoint, program, sweep
from kdediff_jax.sweeping import run as running


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


class Scaled(eqx.Module):
    """A function that holds an array, an argument of its program."""

    factor: jnp.ndarray

    def __call__(self, point):
        return {"x": self.factor.sum() * point["width"]}


def closing_over(table):
    return lambda point: {"x": jnp.asarray(table).sum() * point["width"]}


@pytest.mark.parametrize(
    ("run", "other"),
    [
        (lambda point: {"x": point["width"]}, lambda point: {"x": 2 * point["width"]}),
        (closing_over(np.float32([1, 2])), closing_over(np.float32([1, 3]))),
        (closing_over(np.ones(5000)), closing_over(np.r_[np.ones(4999), 2])),
        (Scaled(jnp.float32([1, 2])), Scaled(jnp.float32([1, 3]))),
    ],
    ids=["code", "closure", "large-closure", "held"],
)
def test_another_function_of_the_same_shapes_is_refused(run, other, tmp_path):
    keep = {"grid": {"width": [0.5, 0.1]}, "checkpoint": tmp_path / "c"}
    first = sweep(run, **keep)
    assert_same(sweep(run, **keep).values, first.values)
    with pytest.raises(ValueError, match=r"another sweep: function is .* a digest of its"):
        sweep(other, **keep)
    assert not np.array_equal(sweep(other, keep["grid"]).values["x"], first.values["x"])


def test_a_linked_checkpoint_stays_a_link(tmp_path):
    (tmp_path / "scratch").mkdir()
    path = tmp_path / "c"
    path.symlink_to("scratch/c")
    with pytest.raises(KeyboardInterrupt):
        sweep(scores, GRID, batch_size=4, checkpoint=path, progress=interrupt_after(4))
    sweep(scores, GRID, checkpoint=path)
    assert path.is_symlink() and os.listdir(tmp_path / "scratch") == ["c"]


def test_parts_of_a_killed_sweep_are_cleared_even_where_nothing_is_written(tmp_path):
    keep = {"checkpoint": tmp_path / "c", "devices": ONE}
    sweep(scores, GRID, **keep)
    part = tmp_path / ".c.0123abcd.part"
    part.write_bytes(b"half")
    os.utime(part, (0, 0))
    sweep(scores, GRID, **keep)
    assert os.listdir(tmp_path) == ["c"]


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
    elif kind in ("newer", "older"):
        header, leaves = checkpoint.read(path)
        original = checkpoint.FORMAT_VERSION
        checkpoint.FORMAT_VERSION = 99 if kind == "newer" else 1
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
        ("older", "does not say of which function"),
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


KILLED = """
import sys
import time
from kdediff_jax.sweeping import run as running, sweep
from sweep_problem import GRID, ONE, scores
running.SAVE_SECONDS = 0.0
def progress(done, total):
    print(done, flush=True)
    time.sleep(0.2)
sweep(scores, GRID, batch_size=2, devices=ONE, checkpoint=sys.argv[1], progress=progress)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_killed_process_loses_nothing_that_was_finished(tmp_path):
    path, whole = tmp_path / "part", tmp_path / "whole"
    with python_running(KILLED, path) as process:
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
