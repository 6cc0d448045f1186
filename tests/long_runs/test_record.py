"""Checkpoints of runs: nothing foreign is continued, a full disk and damage harm nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_run_problem import CYCLES, Nudge, Spiral, arguments, measurements, same
from sweep_problem import interrupt_after

import kdediff_jax as kd
from kdediff_jax import _archives, _files
from kdediff_jax.long_runs import record

resource = pytest.importorskip("resource")
NAMES = "key", "dynamics", "observation", "analysis", "ensemble", "ys"


@pytest.fixture(autouse=True)
def saved_each_time(monkeypatch):
    monkeypatch.setattr(record, "SAVE_SECONDS", 0.0)


def run(path, changes=None, **options):
    given = {**dict(zip(NAMES, arguments(), strict=True)), **(changes or {})}
    return kd.assimilate(**given, checkpoint=path, chunk=8, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the files of a run of which 16 of 24 cycles are done."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(KeyboardInterrupt):
        run(folder / "c", progress=interrupt_after(16))
    return folder


@pytest.fixture
def path(finished, tmp_path):
    for name in ("c", "c.outputs"):
        shutil.copy(finished / name, tmp_path)
    return tmp_path / "c"


def contents(path):
    return {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)}


def refused(path, message, changes=None, error=ValueError, **options):
    before = contents(path)
    with pytest.raises(error, match=message):
        run(path, changes, **options)
    assert contents(path) == before


def save_other(output):
    return output.analysis[0]


class Slower(Spiral):
    """Another model of the same shapes."""

    def step(self, key, x, t, interval=None):
        return x + 0.5 * (super().step(key, x, t, interval) - x)


CHANGED = measurements()
CHANGED[3] += 1


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"key": jax.random.key(1)}, {}, "key is .* there, .* here, a digest of its numbers"),
        ({"ensemble": jnp.ones((10, 2))}, {}, "ensemble is "),
        ({}, {"t0": 1.0}, "t0 or origin is "),
        ({"dynamics": Slower()}, {}, "function is .*, a digest of its compiled code and"),
        ({"dynamics": Spiral(noise=0.06)}, {}, "function is "),
        ({"analysis": Nudge(0.2)}, {}, "function is "),
        ({"observation": kd.GaussianObservation(kd.Select([0]), 0.6)}, {}, "function is "),
        ({}, {"save": save_other}, "function is "),
        ({"ys": CHANGED}, {}, "ys is .* there, .* here, a digest of its first 16 rows"),
        ({"ys": np.ones((CYCLES, 2), "float32")}, {}, "function is "),
        ({}, {"times": 0.1 * np.arange(1, CYCLES + 1)}, "function is "),
    ],
)  # fmt: skip
def test_another_run_is_refused_and_the_files_kept(changes, options, message, path):
    refused(path, f"checkpoint: .*c belongs to another run: {message}", changes, **options)


def test_measurements_that_have_not_been_used_may_change(path):
    ys = measurements()
    ys[20:] = 0.5
    result = run(path, {"ys": ys})
    same(result, run(path.with_name("d"), {"ys": ys}))


def damage(kind, path):
    outputs = path.with_name("c.outputs")
    content, rows = path.read_bytes(), outputs.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(content[:-300])
    elif kind == "flipped":
        path.write_bytes(content[:700] + bytes([content[700] ^ 1]) + content[701:])
    elif kind == "text":
        path.write_text("my notes, of more than a hundred characters" * 5)
    elif kind == "a state":
        kd.save_state(kd.init(jax.random.key(0), jnp.ones((3, 2))), path)
    elif kind == "newer":
        _, state = _archives.read(path, record.KIND, kd.init(*START))
        _archives.write(path, record.KIND._replace(version=99), {}, state)
    elif kind == "short outputs":
        outputs.write_bytes(rows[:-1])
    elif kind == "no outputs":
        outputs.unlink()
    elif kind == "flipped outputs":
        outputs.write_bytes(rows[:100] + bytes([rows[100] ^ 8]) + rows[101:])
    elif kind == "outputs alone":
        path.unlink()


START = jax.random.key(0), jnp.zeros((2, 2))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "c is truncated, or is not a run's checkpoint: no seal"),
        ("truncated", "c is truncated"),
        ("flipped", "c is damaged: its bytes are not those"),
        ("text", "c is truncated, or is not a run's checkpoint"),
        ("a state", "c is not a run's checkpoint: its format is 'kdediff_jax state'"),
        ("newer", "its version is 99, this kdediff_jax reads up to 1"),
        ("short outputs", r"c\.outputs is damaged or missing: \d+ bytes, expected"),
        ("no outputs", r"c\.outputs is damaged or missing: 0 bytes"),
        ("flipped outputs", r"c\.outputs is damaged: its bytes"),
        ("outputs alone", r"c\.outputs is there without c: remove it"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_and_kept(kind, message, path):
    damage(kind, path)
    refused(path, f"checkpoint: .*{message}")


def test_what_a_kill_left_behind_the_good_rows_is_cut_off(path):
    expected = run(path.with_name("whole"))
    with path.with_name("c.outputs").open("ab") as file:
        file.write(b"half a row")
    same(run(path), expected)
    assert contents(path)["c.outputs"] == contents(path)["whole.outputs"]


def test_killed_before_the_first_outputs(tmp_path, monkeypatch):
    path = tmp_path / "c"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(record, "RowFile", lambda *_: interrupt_after(0)(1, 1))
        run(path)
    assert os.listdir(tmp_path) == ["c"]
    same(run(path), run(tmp_path / "d"))


def test_an_unwritable_folder_shows_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    seen = []
    with pytest.raises(OSError):
        run(tmp_path / "file" / "c", progress=lambda *counts: seen.append(counts))
    assert seen == []


def test_two_processes_do_not_share_a_checkpoint(path):
    with _files.held(path), pytest.raises(BlockingIOError, match="another process is at work on"):
        run(path)


@contextlib.contextmanager
def files_no_longer_than(num_bytes):
    """Make the system refuse longer files, as a full disk does: in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_half_way_leaves_the_last_good_checkpoint(tmp_path):
    big = {"ensemble": jax.random.normal(jax.random.key(1), (1000, 2))}
    expected = run(tmp_path / "other", big, save=kd.save_ensembles)
    size = len(contents(tmp_path / "other")["other.outputs"])
    path = tmp_path / "full"
    message = r"the checkpoint is whole and has 16 of 24 cycles; make room, and the same call"
    with files_no_longer_than(size - 100), pytest.raises(OSError, match=message) as caught:
        run(path, big, save=kd.save_ensembles)
    assert caught.value.filename == str(path)
    header, _ = _archives.read(path, record.KIND, kd.init(*START))
    assert header["finished"] == 16
    assert path.with_name("full.outputs").stat().st_size == size * 16 // CYCLES  # room given back
    same(run(path, big, save=kd.save_ensembles), expected)


def test_a_failed_sync_leaves_the_last_good_checkpoint(path, monkeypatch):
    before = contents(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: the checkpoint is whole"):
            run(path)
    assert contents(path) == before
    same(run(path), run(path.with_name("whole")))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = ["-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", *size], capture_output=True).returncode
    ):
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_and_the_same_call_once_there_is_room(small_disk):
    path = small_disk / "c"
    big = {"ensemble": jax.random.normal(jax.random.key(1), (1000, 2))}
    message = r"\[Errno 28\] No space left on device: the checkpoint is whole and has 16 of 24"
    with pytest.raises(OSError, match=message):
        run(path, big, save=kd.save_ensembles)
    assert sorted(os.listdir(small_disk)) == ["c", "c.outputs"]
    header, _ = _archives.read(path, record.KIND, kd.init(*START))
    assert header["finished"] == 16
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    same(
        run(path, big, save=kd.save_ensembles),
        run(small_disk / "whole", big, save=kd.save_ensembles),
    )
