"""Runs of host simulators with a checkpoint: killed, interrupted, resumed to the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from host_run_problem import (
    CHILD,
    CYCLES,
    INTERRUPTED,
    TIMES,
    arguments,
    first,
    slow_arguments,
    spiral,
)
from long_run_problem import Nudge, same
from sweep_problem import interrupt_after, python_running

import kdediff_jax as kd
from kdediff_jax.long_runs import record
from kdediff_jax.simulators import failures

OPTIONS = {"save": kd.save_ensembles, "times": TIMES}


@pytest.fixture(autouse=True)
def saved_each_time(monkeypatch):
    monkeypatch.setattr(record, "SAVE_SECONDS", 0.0)


@pytest.fixture(scope="module")
def whole():
    return kd.assimilate(*arguments(), **OPTIONS)


def the_same(result, whole):
    same((result.saved, result.info, result.state), (whole.saved, whole.info, whole.state))
    assert tuple(result.failures) == tuple(whole.failures)
    assert (result.failures.total, result.failures.counts) == (
        whole.failures.total, whole.failures.counts,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_killed_at_random_moments_it_ends_in_the_same_bits(whole, tmp_path):
    path, dice, done = tmp_path / "c", random.Random(2), []
    for _ in range(3):
        with python_running(CHILD, path) as process:
            after = dice.randrange(4, 15)
            for k, _ in enumerate(process.stdout):
                if k >= after:
                    time.sleep(dice.uniform(0, 0.02))
                    process.kill()
                    break
        assert process.returncode == -signal.SIGKILL
        done.append(record._archives.read(path, record.KIND, START)[0]["finished"])
    assert 0 < done[0] < done[1] < done[2] < CYCLES
    seen = []
    result = kd.assimilate(
        *arguments(workers=2), **OPTIONS, checkpoint=path, chunk=7,
        progress=lambda *each: seen.append(each[0]),
    )  # fmt: skip
    the_same(result, whole)
    assert result.failures.total > 10 and seen[0] == done[2] and seen[-1] == CYCLES
    assert isinstance(result.saved, np.memmap) and sorted(os.listdir(tmp_path)) == [
        "c",
        "c.outputs",
    ]
    the_same(kd.assimilate(*arguments(), **OPTIONS, checkpoint=path), whole)  # complete: only read


START = kd.init(jax.random.key(0), jnp.zeros((2, 2)))


@pytest.mark.parametrize("chunk", [None, 25, 1000])
def test_chunks_are_one_run(chunk, whole, tmp_path):
    seen = []
    options = {**OPTIONS, "chunk": chunk, "checkpoint": tmp_path / "c"}
    the_same(kd.assimilate(*arguments(), **options, progress=lambda *e: seen.append(e)), whole)
    steps = range(chunk or 1, CYCLES + 1, chunk or 1)
    assert [done for done, _ in seen] == sorted({*steps, CYCLES})


def test_a_series_that_has_grown(tmp_path):
    key, *modules, ensemble, ys = arguments(8)
    state = kd.init(key, ensemble)
    path = tmp_path / "c"
    kd.resume(state, *modules, ys[:5], checkpoint=path)
    the_same(kd.resume(state, *modules, ys, checkpoint=path), kd.resume(state, *modules, ys))


def other(rng, x, t, interval):
    return x + 0.9 * interval * np.array([x[1], -x[0]])


def squared(rng, X, t):
    return X[:, :1] ** 2


REFUSED = {
    "another function": (lambda a: {"dynamics": arguments(function=other)[1]}, "simulator"),
    "another measurement": (lambda a: {"observation": kd.HostObservation(squared)}, "simulator"),
    "an operator": (
        lambda a: {"observation": kd.GaussianObservation(kd.HostOperator(lambda X: X[:, :1]), 1.0)},
        "function",
    ),
    "another interval": (lambda a: {"dynamics": kd.HostDynamics(a[1].simulator, 0.2)}, "function"),
    "another scheme": (lambda a: {"analysis": Nudge(0.2)}, "function"),
    "a JAX model": (lambda a: {"dynamics": kd.RandomWalk()}, "function"),
    "another key": (lambda a: {"key": jax.random.key(5)}, "key"),
}
NAMES = "key", "dynamics", "observation", "analysis", "ensemble", "ys"


def test_another_run_is_refused_and_the_files_kept(tmp_path):
    given = arguments(4)
    kd.assimilate(*given, checkpoint=tmp_path / "c")
    files = {name: (tmp_path / name).read_bytes() for name in ("c", "c.outputs")}
    for name, (make, key) in REFUSED.items():
        changed = {**dict(zip(NAMES, given, strict=True)), **make(given)}
        with pytest.raises(ValueError, match=f"belongs to another run: {key} is") as caught:
            kd.assimilate(**changed, checkpoint=tmp_path / "c")
        assert {each: (tmp_path / each).read_bytes() for each in files} == files, name
        if key == "simulator":
            assert "a digest of its functions, of what they read from outside" in str(caught.value)


def test_what_the_first_cycle_of_a_resumed_run_meets_is_no_mistake(tmp_path):
    """An uninterrupted run would go on from its reserve there."""
    given = arguments(6, function=breaks_down)
    expected = kd.assimilate(*given)
    with pytest.raises(KeyboardInterrupt):
        kd.assimilate(*given, checkpoint=tmp_path / "c", progress=interrupt_after(3))
    the_same(jax.tree.map(jnp.asarray, kd.assimilate(*given, checkpoint=tmp_path / "c")), expected)
    assert not expected.info.ok[3] and expected.info.ok[4]


def breaks_down(rng, x, t, interval):
    if 0.25 < t < 0.35:
        raise OSError("the file server is away")
    return spiral(rng, x, t, interval)


def test_an_interrupted_run_says_where_it_stands(tmp_path):
    with pytest.raises(KeyboardInterrupt) as caught:
        kd.assimilate(*arguments(5), progress=interrupt_after(2))
    assert "stopped after 2 of 5 cycles" in caught.value.__notes__[0]
    assert "nothing is kept without a checkpoint" in caught.value.__notes__[0]
    assert os.listdir(tmp_path) == []


def is_running(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().split(") ")[1][0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("workers", [1, 3])
def test_ctrl_c_ends_the_programs_and_leaves_a_valid_file(workers, tmp_path):
    (tmp_path / "slow").touch()
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path), str(workers)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(paths)},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "KeyboardInterrupt" in done.stderr
    message = f"stopped after 2 of 5 cycles; programs under way were ended; {tmp_path / 'c'} has"
    assert message in done.stderr
    pids = [path.read_text() for path in tmp_path.glob("[0-9]")]
    assert len(pids) == min(workers, 3) and not any(map(is_running, pids))
    assert record._archives.read(tmp_path / "c", record.KIND, START)[0]["finished"] == 2
    (tmp_path / "slow").unlink()
    given = slow_arguments(tmp_path, workers)
    the_same(
        jax.tree.map(jnp.asarray, kd.assimilate(*given, checkpoint=tmp_path / "c")),
        kd.assimilate(*given),
    )


def test_a_long_run_keeps_the_first_and_the_last_failures(tmp_path, monkeypatch):
    monkeypatch.setattr(failures, "KEPT", 5)
    result = kd.assimilate(*arguments(), **OPTIONS)
    monkeypatch.undo()
    every = kd.assimilate(*arguments(), **OPTIONS).failures
    kept = result.failures
    assert tuple(kept) == tuple(every[:5] + every[-5:])
    assert kept.total == every.total == len(every) > 10 and kept.counts == every.counts
    assert sum(kept.counts.values()) == kept.total
    assert kept.counts["dynamics: RuntimeError"] == sum(
        "RuntimeError" in each.reason for each in every
    )
    assert f"and {kept.total - 10} more" in repr(kept)


def test_records_do_not_grow_however_many_fail():
    found, cycles = kd.Failures(), 3000
    for k in range(cycles):
        new = tuple(kd.Failure(k, m, "dynamics", f"ValueError: {'x' * 5000}") for m in range(20))
        found = found.plus(new)
    assert len(found) == 500 and found.total == 20 * cycles
    assert found.counts == {"dynamics: ValueError": 20 * cycles}
    assert found[0].cycle == 0 and found[-1].cycle == cycles - 1
    assert max(len(each.reason) for each in found) <= 600
    assert kd.Failures.of_notes(found.as_notes()) == found
    assert Counter(each.cycle for each in found)[0] == 20


def test_twin_experiments_of_host_models_are_those_of_jax(x64):
    """Model, operator, irregular times: the same truth and measurements."""
    import host_lorenz63 as numpy_model

    key, x0 = jax.random.key(0), jnp.array([1.0, 3.0, 20.0])
    model = kd.Lorenz63(interval=0.1), kd.GaussianObservation(kd.Select([2]), 2.0)
    host = (
        kd.HostDynamics(numpy_model.step, 0.1),
        kd.GaussianObservation(kd.HostOperator(numpy_model.z_of), 2.0),
    )
    for times in (None, np.cumsum([0.07, 0.25] * 2)):
        expected = kd.twin_experiment(key, *model, x0, 4, times=times)
        for dynamics, observation in ((host[0], model[1]), (model[0], host[1]), host):
            found = kd.twin_experiment(key, dynamics, observation, x0, 4, times=times)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-10)


def test_a_twin_experiment_with_measurements_of_numpy():
    dynamics = kd.HostDynamics(kd.MemberSimulator(lambda rng, x, t, interval: x), 1.0)
    truth, ys = kd.twin_experiment(
        jax.random.key(0), dynamics, kd.HostObservation(first), jnp.array([2.0, 3.0]), 400
    )
    np.testing.assert_array_equal(truth, np.tile([[2.0, 3.0]], (400, 1)).astype("float32"))
    errors = np.asarray(ys)[:, 0] - 2
    assert abs(errors.mean()) < 4 * 0.5 / 20 and abs(errors.std() - 0.5) < 4 * 0.5 / 28


def test_a_truth_that_fails_is_an_error():
    def twin(function, observation=None):
        observation = kd.HostObservation(first) if observation is None else observation
        key, x0 = jax.random.key(0), jnp.zeros(2)
        return kd.twin_experiment(key, kd.HostDynamics(function, 0.1), observation, x0, 6)

    with pytest.raises(OSError, match="file server is away"):
        twin(kd.MemberSimulator(breaks_down))
    with pytest.raises(ValueError, match=r"dynamics: expected a finite truth, got .*cycle 0"):
        twin(lambda rng, X, t, interval: X + np.inf)
    with pytest.raises(ValueError, match=r"observation: expected finite measurements"):
        twin(lambda rng, X, t, interval: X, kd.HostObservation(lambda rng, X, t: X * np.nan))
    with pytest.raises(ValueError, match=r"return shape \(1, 2\), got \(1, 1\)"):
        twin(lambda rng, X, t, interval: X[:, :1])
    with pytest.raises(TypeError, match="twin_experiment: a simulator lives on the host"):
        jax.jit(lambda: twin(lambda rng, X, t, interval: X))()
