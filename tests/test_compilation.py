"""Compiled programs on disk: kept by the command line and by one call, and found again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kdediff_jax as kd
from kdediff_jax._compilation import keep_programs

VARIABLES = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """A process that has been told nothing, with a home of its own."""
    for variable in (*VARIABLES, "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "to be restored")
        monkeypatch.delenv(variable)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return monkeypatch


def test_no_home_no_cache(environment, tmp_path):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    environment.setattr(Path, "home", homeless)
    keep_programs()
    assert VARIABLES[0] not in os.environ
    with pytest.raises(OSError, match="no home folder"):
        kd.compilation_cache()
    (tmp_path / "file").write_text("")
    environment.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # nothing can be kept below it
    keep_programs()
    assert VARIABLES[0] not in os.environ
    with pytest.raises(OSError, match=r"expected a folder that can be written, got .*file/kdediff"):
        kd.compilation_cache()


def test_programs_are_kept_in_the_cache_unless_jax_is_told_otherwise(environment, tmp_path):
    keep_programs()
    assert os.environ[VARIABLES[0]] == str(tmp_path / ".cache" / "kdediff")
    environment.setenv(VARIABLES[0], "elsewhere")
    keep_programs()
    assert os.environ[VARIABLES[0]] == "elsewhere"


def test_what_is_no_path_is_refused():
    with pytest.raises(TypeError, match="path: expected a path or None, got 3"):
        kd.compilation_cache(3)  # pyright: ignore[reportArgumentType]


SCRIPT = """
import json, sys, jax, jax.numpy as jnp
import kdediff_jax as kd
from jax._src import monitoring
jax.jit(lambda x: x + 1)(jnp.ones(3))  # JAX has looked for a cache, and has none
events = []
monitoring.register_event_listener(lambda event, **kw: events.append(event))
folder = kd.compilation_cache(*sys.argv[1:])
model, seen = kd.RandomWalk(1.0, 0.1), kd.GaussianObservation(kd.Identity(), 1.0)
result = kd.assimilate(
    jax.random.key(0), model, seen, kd.EnKF(), jnp.ones((4, 2)), jnp.ones((3, 2))
)
hits = sum("cache_hits" in event for event in events)
print(json.dumps([str(folder), hits, result.mean.tolist()]))
"""


def test_the_next_process_finds_them_after_one_call(environment, tmp_path):
    def started(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments],
            capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
        return json.loads(done.stdout)

    folder, hits, mean = started(str(tmp_path / "made" / "here"))
    assert folder == str(tmp_path / "made" / "here") and hits == 0
    assert any(Path(folder).iterdir())
    again = started(folder)
    assert again[1] > 0 and again[2] == mean
    assert started()[0] == str(tmp_path / ".cache" / "kdediff")
    environment.setenv(VARIABLES[0], str(tmp_path / "told"))
    assert started()[0] == str(tmp_path / "told")
