"""States in files: bit for bit in another process; what is damaged, foreign or newer is refused."""

from __future__ import annotations

import os
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_run_problem import arguments, same
from sweep_problem import python_running

import kdediff_jax as kd
from kdediff_jax import _archives, _files, state_files


def members(dtype, n=7):
    odd = jnp.asarray([[jnp.nan, -0.0, 1e-45], [jnp.inf, 0.0, -jnp.inf]], dtype)  # no value is lost
    return jnp.concatenate([jax.random.normal(jax.random.key(1), (n, 3), dtype), odd])


@pytest.mark.parametrize("generator", ["threefry2x32", "rbg", "raw"])
def test_restored_bit_for_bit(dtype, generator, tmp_path):
    key = jax.random.PRNGKey(5) if generator == "raw" else jax.random.key(5, impl=generator)
    state = kd.init(key, members(dtype), t0=1.7e9 + 1 / 3, origin=1.7e9)
    state = state._replace(index=jnp.int32(41), ensemble=state.ensemble * 2)
    path = tmp_path / "deep" / "state"  # neither the folder exists, nor is .npz appended
    assert kd.save_state(state, path) == path and os.listdir(path.parent) == ["state"]
    back = kd.load_state(path)
    same(back, jax.tree.map(jnp.asarray, state))
    assert back.ensemble.tobytes() == state.ensemble.tobytes()  # -0.0 and NaN included
    if generator != "raw":
        assert jax.random.key_impl(back.key) == jax.random.key_impl(key)
    np.testing.assert_array_equal(np.load(path, allow_pickle=False)["leaf_0"], state.ensemble)


def test_low_precision_survives_the_file(tmp_path):
    state = kd.init(jax.random.key(0), jnp.ones((3, 2), jnp.bfloat16) / 3)
    same(kd.load_state(kd.save_state(state, tmp_path / "s")), jax.tree.map(jnp.asarray, state))


CHILD = """
import sys
import kdediff_jax as kd
from long_run_problem import arguments
_, *modules, _, ys = arguments()
state = kd.load_state(sys.argv[1])
kd.save_state(kd.resume(state, *modules, ys[10:]).state, sys.argv[2])
"""


def test_another_process_goes_on_to_the_same_bits(tmp_path):
    key, *modules, ensemble, ys = arguments()
    part = kd.assimilate(key, *modules, ensemble, ys[:10], t0=3.0)
    kd.save_state(part.state, tmp_path / "part")
    with python_running(CHILD, tmp_path / "part", tmp_path / "end") as process:
        process.communicate()
    assert process.returncode == 0
    expected = kd.assimilate(key, *modules, ensemble, ys, t0=3.0).state
    same(kd.load_state(tmp_path / "end"), expected)


@pytest.fixture
def path(tmp_path):
    return kd.save_state(kd.init(jax.random.key(0), members("float32")), tmp_path / "s")


def refused(path, message):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        kd.load_state(path)
    assert path.read_bytes() == before


def test_every_flipped_bit_and_every_cut_is_refused(path):
    content, dice = path.read_bytes(), random.Random(0)
    for _ in range(300):
        at, bit = dice.randrange(len(content)), 1 << dice.randrange(8)
        path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
        refused(path, "path: .*s is (damaged|truncated)")
    for size in [0, 1, 90, len(content) - 1, *(dice.randrange(len(content)) for _ in range(50))]:
        path.write_bytes(content[:size])
        refused(path, "path: .*s is truncated, or is not a filter's state: no seal")


def test_foreign_and_newer_files_are_refused(path, tmp_path, monkeypatch):
    state = kd.load_state(path)
    newer = state_files.KIND._replace(version=2)
    _archives.write(path, newer, {}, state)
    refused(path, "not a filter's state: its version is 2, this kdediff_jax reads up to 1")
    _archives.write(path, newer._replace(format="notes"), {}, state)
    refused(path, "not a filter's state: its format is 'notes'")
    _archives.write(path, state_files.KIND, {}, state[:2])
    refused(path, r"not a filter's state: it has \['\[0\]', '\[1\]'\]")
    for content, words in (
        (b"\x89HDF and more", "a NetCDF file"),
        (b"text", "no archive of NumPy"),
    ):
        _files.replace(path, content, _files.seal(content))
        refused(path, f"not a filter's state: it is {words}")
    np.savez(tmp_path / "foreign.npz", x=np.zeros(30))
    refused(tmp_path / "foreign.npz", "is truncated, or is not a filter's state")
    with pytest.raises(FileNotFoundError, match="path: no such file"):
        kd.load_state(tmp_path / "none")


def test_an_array_that_differs_is_named(path, monkeypatch):
    state = kd.load_state(path)
    described = _archives._described

    def other(name, leaf):
        return {**described(name, leaf), "sha256": "0" if name == ".reserve" else ""}

    monkeypatch.setattr(_archives, "_described", other)
    _archives.write(path, state_files.KIND, {}, state._replace())
    refused(path, r"\.ensemble differs from what was written")


def test_float64_is_not_rounded_in_silence(tmp_path):
    with jax.enable_x64(True):
        state = kd.init(jax.random.key(0), members("float64"))
        path = kd.save_state(state, tmp_path / "s")
    refused(path, r"\.ensemble is float64: switch on `jax_enable_x64`")


def test_a_failed_write_leaves_the_older_state(path, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        kd.save_state(kd.init(jax.random.key(1), members("float32")), path)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["s"]
    with pytest.raises(TypeError, match="state: expected a FilterState, got ndarray"):
        kd.save_state(np.zeros(3), path)
