"""Long runs: the numbers of one program, whatever interrupts; no program for each chunk."""

from __future__ import annotations

import os
import random
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_run_problem import CHILD, CYCLES, Spiral, arguments, same
from sweep_problem import interrupt_after, python_running

import kdediff_jax as kd
from kdediff_jax.long_runs import record, series

TIMES = np.cumsum(np.random.default_rng(3).choice([0.03, 0.1, 0.25], CYCLES))


@pytest.fixture(autouse=True)
def saved_each_time(monkeypatch):
    monkeypatch.setattr(record, "SAVE_SECONDS", 0.0)


@pytest.fixture(scope="module")
def whole():
    return kd.assimilate(*arguments())


@pytest.mark.parametrize("chunk", [None, 5, 23, 100])
def test_chunks_of_any_length_give_the_bits_of_one_program(chunk, whole, tmp_path):
    seen = []
    result = kd.assimilate(*arguments(), chunk=chunk, progress=lambda *counts: seen.append(counts))
    same(result, whole)
    ends = [done for done, _ in seen]
    assert ends[-1] == CYCLES and ends == sorted(set(ends)) and seen[0][1] == CYCLES
    kept = kd.assimilate(*arguments(), chunk=chunk, checkpoint=tmp_path / "c")
    same(kept, whole)
    assert isinstance(kept.saved.mean, np.memmap)  # in a file, not in memory
    assert sorted(os.listdir(tmp_path)) == ["c", "c.outputs"]
    assert kept.diagnose() == whole.diagnose() and kept.raise_if_failed() is kept
    np.testing.assert_array_equal(kept.spread, whole.spread)


def test_pieces_have_two_lengths_at_most_and_none_of_a_single_row():
    for total in range(1, 40):
        for chunk in range(1, 12):
            cut = list(series.pieces(0, total, chunk))
            assert [a for a, _ in cut] == [0, *(b for _, b in cut[:-1])] and cut[-1][1] == total
            lengths = {b - a for a, b in cut}
            assert len(lengths) <= 2 and (1 not in lengths or 1 in (chunk, total))
    assert series.chunk_of(None, 1000) == 10 and series.chunk_of(None, 30) == 2
    assert series.chunk_of(None, 1001) == 11 and series.chunk_of(7, 1000) == 7


@pytest.mark.parametrize("modules", ["nothing else", "float64", "jax's measurements"])
def test_an_interrupted_run_goes_on_to_the_same_bits(modules, tmp_path):
    with jax.enable_x64(modules == "float64"):
        given = arguments(dtype="float64" if modules == "float64" else "float32")
        if modules == "jax's measurements":
            given = (*given[:-1], jnp.asarray(given[-1]))
        options = {"save": kd.save_ensembles, "t0": 1.7e9, "origin": 1.7e9, "times": 1.7e9 + TIMES}
        expected = kd.assimilate(*given, **options)
        long = {**options, "checkpoint": tmp_path / "c", "chunk": 5}
        for stop in (5, 15):
            with pytest.raises(KeyboardInterrupt):
                kd.assimilate(*given, **long, progress=interrupt_after(stop))
        same(kd.assimilate(*given, **long), expected)
        same(kd.assimilate(*given, **{**long, "chunk": 7}), expected)  # complete: only read


def test_resume_and_a_series_that_has_grown(whole, tmp_path):
    key, *modules, ensemble, ys = arguments()
    state = kd.init(key, ensemble)
    path = tmp_path / "deep" / "c"
    part = kd.resume(state, *modules, ys[:10], checkpoint=path, chunk=4)
    same(part.info, jax.tree.map(lambda x: x[:10], whole.info))
    same(kd.resume(state, *modules, ys, checkpoint=path), whole)
    with pytest.raises(ValueError, match=r"has 24 cycles, more than the 10 of ys"):
        kd.resume(state, *modules, ys[:10], checkpoint=path)
    kd.long_runs.remove_checkpoint(path)
    assert os.listdir(path.parent) == []
    kd.long_runs.remove_checkpoint(path)  # nothing there
    np.testing.assert_array_equal(part.mean, whole.mean[:10])  # its mapping has not changed


def test_one_program_serves_all_chunks(tmp_path):
    traces = []

    class Traced(Spiral):
        def step(self, key, x, t, interval=None):
            traces.append(1)
            return super().step(key, x, t, interval)

    key, _, *rest = arguments()
    kd.assimilate(key, Traced(), *rest, times=TIMES, chunk=24, progress=lambda *_: None)
    one = len(traces)
    kd.assimilate(key, Traced(), *rest, times=TIMES, chunk=4, progress=lambda *_: None)
    assert len(traces) - one == one  # six chunks, as many traces as one
    kd.assimilate(key, Traced(), *rest, times=TIMES, chunk=4, progress=lambda *_: None)
    assert len(traces) == 2 * one


def test_what_save_stores_is_of_any_kind(tmp_path):
    def save(output):
        low = output.analysis.astype(jnp.bfloat16)
        return {
            "low": low,
            "none": None,
            "number": 1.5,
            "empty": jnp.zeros((0, 3)),
            "ok": output.info.ok,
        }

    expected = kd.assimilate(*arguments(), save=save)
    result = kd.assimilate(*arguments(), save=save, checkpoint=tmp_path / "c", chunk=10)
    assert result.saved["low"].dtype == jnp.bfloat16 and result.saved["none"] is None
    same(jax.tree.map(jnp.asarray, result), expected)
    with pytest.raises(TypeError, match="save: expected arrays of numbers, got a random key"):
        kd.assimilate(
            *arguments(), save=lambda output: jax.random.key(0), checkpoint=tmp_path / "d"
        )


def test_inside_transformations(whole, tmp_path):
    key, *modules, ensemble, ys = arguments()

    def mean(ys, **options):
        return kd.assimilate(key, *modules, ensemble, ys, **options).mean

    with pytest.warns(UserWarning, match="progress: inside `jit`, `vmap` and `grad` all cycles"):
        batch = jax.vmap(lambda ys: mean(ys, progress=True))(jnp.stack([ys, ys]))
    np.testing.assert_allclose(batch[1], whole.mean, rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match="checkpoint: expected a run outside of `jit`"):
        jax.jit(lambda ys: mean(ys, checkpoint=tmp_path / "c"))(ys)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"chunk": 4}, ValueError, "chunk: expected a checkpoint or progress beside it, got 4"),
        ({"chunk": 0, "progress": True}, ValueError, "chunk: expected at least 1, got 0"),
        ({"chunk": 2.0, "progress": True}, TypeError, "chunk: expected an int, got float"),
        ({"progress": "bar"}, TypeError, "progress: expected True or a function .*'bar'"),
        ({"checkpoint": 3}, TypeError, "checkpoint: expected a path, got 3"),
        ({"checkpoint": "."}, IsADirectoryError, "checkpoint: expected a file, got the folder"),
    ],
)
def test_wrong_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        kd.assimilate(*arguments(), **options)


def test_no_cycle_at_all(tmp_path):
    given = arguments(0)
    result = kd.assimilate(*given, checkpoint=tmp_path / "c", progress=True)
    assert result.mean.shape == (0, 2) and os.listdir(tmp_path) == []


def test_no_line_is_drawn_where_nothing_is_asked_for(capsys):
    kd.assimilate(*arguments(), progress=False)
    kd.assimilate(*arguments(), progress=lambda done, total: None)
    assert capsys.readouterr() == ("", "")
    kd.assimilate(*arguments(), progress=True)  # not a terminal
    assert capsys.readouterr().err.endswith("24/24 cycles, 0 s\n")


def killed_at_random(path, cycles, chunk, moments):
    """Start the run in a child again and again, and kill each after some chunks and some time."""
    for after, seconds in moments:
        with python_running(CHILD, path, cycles, chunk) as process:
            for k, _ in enumerate(process.stdout):
                if k >= after:
                    time.sleep(seconds)
                    process.kill()
                    break
        assert process.returncode in (-signal.SIGKILL, 0)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path):
    cycles, dice = 3001, random.Random(4)
    moments = [(dice.randrange(40), dice.uniform(0, 0.02)) for _ in range(3)]
    killed_at_random(tmp_path / "c", cycles, 10, moments)
    header = record._archives.read(tmp_path / "c", record.KIND, kd.init(*START))[0]
    assert 0 < header["finished"] < cycles
    expected = kd.assimilate(*arguments(cycles))
    result = kd.assimilate(*arguments(cycles), checkpoint=tmp_path / "c")
    same(result, expected)
    assert sorted(os.listdir(tmp_path)) == ["c", "c.outputs"]  # no lock, no part left


START = jax.random.key(0), jnp.zeros((2, 2))
