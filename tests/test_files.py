"""Files: replaced in one step, links kept, abandoned parts cleared, one process at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from sweep_problem import python_running

from kdediff_jax import _files


def test_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    assert _files.replace(path, b"one") == path
    assert _files.replace(path, b"t", memoryview(b"wo")).read_bytes() == b"two"
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    _files.replace(path, b"three")
    assert len(synced) == 2  # the file, then its folder

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.nc'"):
        _files.replace(path, b"four")
    assert path.read_bytes() == b"three" and os.listdir(tmp_path) == ["a.nc"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "store").mkdir()
    link = tmp_path / "link"
    link.symlink_to("store/file")
    for content in (b"one", b"two"):  # first while the link's end is not there yet
        _files.replace(link, content)
        assert link.is_symlink() and (tmp_path / "store" / "file").read_bytes() == content
    assert os.listdir(tmp_path / "store") == ["file"]


def test_parts_of_killed_processes_are_cleared(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    mine, machine = os.getpid(), _files._machine()
    gone = [f".a.nc.{ended.pid}-{machine}-0123abcd.part", ".a.nc.0123abcd.part"]
    kept = [
        f".a.nc.{mine}-{machine}-0123abcd.part",  # another thread's
        f".a.nc.{os.getppid()}-{machine}-0123abcd.part",
        f".a.nc.{ended.pid}-00000000-0123abcd.part",  # another machine's, of today
        f".b.nc.{ended.pid}-{machine}-0123abcd.part",  # another file's
        ".a.nc.89abcdef.part",  # an older release's, of today
        ".a.nc.notes.part",
    ]
    for name in gone + kept:
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / gone[1], (0, time.time() - 2 * _files.OLD_SECONDS))
    _files.replace(tmp_path / "a.nc", b"whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "a.nc"])


KILLED = """
import os, sys
from kdediff_jax import _files
def killed(*_):
    os.kill(os.getpid(), 9)
os.replace = killed
_files.replace(sys.argv[1], b"half")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_kill_while_writing_leaves_nothing_for_long(tmp_path):
    path = _files.replace(tmp_path / "a", b"old")
    for _ in range(3):
        with python_running(KILLED, path) as process:
            process.wait()
        assert len(os.listdir(tmp_path)) == 2 and path.read_bytes() == b"old"
    _files.replace(path, b"new")
    assert os.listdir(tmp_path) == ["a"]


HOLDING = """
import sys, time
from kdediff_jax import _files
with _files.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(_files.fcntl is None, reason="no locks here")
def test_a_file_is_held_by_one_process_until_it_ends(tmp_path):
    path = tmp_path / "a.nc"
    with _files.held(path):
        with pytest.raises(BlockingIOError, match=r"another process is at work on .*a\.nc"):
            _files.held(path).__enter__()
        with _files.held(tmp_path / "b.nc"):
            assert len(os.listdir(tmp_path)) == 2
    assert os.listdir(tmp_path) == []
    with python_running(HOLDING, path) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError):
            _files.held(path).__enter__()
        process.kill()
    with _files.held(path):  # the killed one's lock file is there, but nobody holds it
        pass
    assert os.listdir(tmp_path) == []
