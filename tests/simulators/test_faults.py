"""Faults at random in 5 % of the members: a run finishes, counts them, and is nearly as good."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter

import host_lorenz63 as numpy_model
import host_lorenz63_plain as plain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.simulators import processes

OBSERVATION = kd.GaussianObservation(kd.Identity(), 1.0)
ENKF = kd.EnKF(inflation=1.02)
RATE = 0.05
START = jnp.array([1.0, 3.0, 20.0])


def problem(cycles, members):
    model = kd.Lorenz63(interval=0.1)
    truth, ys = kd.twin_experiment(jax.random.key(0), model, OBSERVATION, START, cycles)
    return truth, ys, START[None] + jax.random.normal(jax.random.key(2), (members, 3))


def run(simulator, analysis, members, ys, **options):
    dynamics = kd.HostDynamics(simulator, 0.1)
    arguments = dynamics, OBSERVATION, analysis, members, ys
    return kd.assimilate(jax.random.key(1), *arguments, save=kd.save_ensembles, **options)


def score(result, truth, start=5):
    """Return the energy score, which hears of an ensemble that has lost its spread too."""
    return float(kd.metrics.energy_score(jnp.asarray(result.saved)[start:], truth[start:]).mean())


def nearly_as_good(result, clean, truth):
    assert np.asarray(result.info.ok).all()
    found, expected = score(result, truth), score(clean, truth)
    print(f"score {found:.4f}, without faults {expected:.4f}, {result.failures.total} failures")
    assert found < 1.2 * expected


def kind_of_fault(rng):
    return int(rng.integers(5)) if rng.random() < RATE else None


def faulty(rng, x, t, interval):
    """Step one member; some fail, each in its way, a hang among them."""
    kind = kind_of_fault(rng)
    if kind == 0:
        raise RuntimeError("the solver did not converge")
    if kind == 1:
        sys.exit(7)
    if kind == 2:
        time.sleep(600)
    moved = numpy_model.integrate(x, interval)
    if kind is not None and kind > 2:
        moved[1] = [np.nan, 1e30][kind - 3]
    return moved


def recording(found):
    """Return the sound model; it notes when the other one would have failed."""

    def step(rng, x, t, interval):
        if kind_of_fault(rng) is not None:
            found[round(t / 0.1)] += 1
        return numpy_model.integrate(x, interval)

    return kd.MemberSimulator(step)


def counted(result, found, cycles):
    """Assert that just those were masked, listed and counted that were made to fail."""
    masked = np.asarray(result.info.num_masked)
    np.testing.assert_array_equal(masked, [found[k] for k in range(cycles)])
    listed = Counter(failure.cycle for failure in result.failures)
    np.testing.assert_array_equal([listed[k] for k in range(cycles)], masked)
    assert result.failures.total == sum(result.failures.counts.values()) == masked.sum()


def test_a_numpy_model_in_processes():
    pytest.importorskip("joblib")
    cycles, found = 15, Counter()
    truth, ys, members = problem(cycles, 20)
    clean = run(recording(found), ENKF, members, ys)
    began = time.perf_counter()
    simulator = kd.MemberSimulator(faulty, workers=2, processes=True, timeout=1.0)
    result = run(simulator, ENKF, members, ys)
    assert time.perf_counter() - began < 120
    counted(result, found, cycles)
    kinds = {each.partition(": ")[2] for each in result.failures.counts}
    assert {"TimeoutError", "RuntimeError", "it returned values that are not finite"} <= kinds
    assert "not done after 1 s" in " ".join(each.reason for each in result.failures)
    nearly_as_good(result, clean, truth)


SAID = "status 1", "status 7", "not done after 3 s", "not finite", "far_member"  # by kind


def test_a_program():
    cycles, made = 15, []
    truth, ys, members = problem(cycles, 20)

    def write(folder, call):
        made.append((round(call.t / 0.1), plain.fault(call.seed, RATE)))
        (folder / "in.txt").write_text("\n".join(map(repr, call.x.tolist())))

    words = [sys.executable, "-S", "-E", plain.__file__, "{interval}", str(RATE), "{seed}"]
    program = kd.ProgramSimulator(words, write=write, read="out.txt", timeout=3.0, workers=3)
    result = run(program, ENKF, members, ys)
    faults = [(cycle, kind) for cycle, kind in made if kind is not None]
    counted(result, Counter(cycle for cycle, _ in faults), cycles)
    kinds = Counter(SAID[kind] for _, kind in faults)
    reasons = [failure.reason for failure in result.failures]
    assert {each: sum(each in reason for reason in reasons) for each in kinds} == kinds
    assert len(kinds) > 3 and "not done after 3 s" in kinds
    nearly_as_good(result, run(numpy_model.step, ENKF, members, ys), truth)


@pytest.mark.slow
@pytest.mark.parametrize("analysis", [ENKF, kd.EnKPF()], ids=["enkf", "enkpf"])
def test_several_hundred_cycles(analysis, tmp_path):
    """In one process, so without hangs; with a checkpoint, as a long run has one."""
    cycles, found = 400, Counter()
    truth, ys, members = problem(cycles, 40)
    clean = run(recording(found), analysis, members, ys)

    result = run(
        kd.MemberSimulator(numpy_model.faulty_step), analysis, members, ys,
        checkpoint=tmp_path / "c",
    )  # fmt: skip
    masked = np.asarray(result.info.num_masked)
    assert result.failures.total == masked.sum() > len(result.failures) == 500
    assert abs(masked.sum() - RATE * 40 * cycles) < 4 * (RATE * 40 * cycles) ** 0.5
    nearly_as_good(result, clean, truth)


def test_a_hang_that_no_alarm_ends_costs_its_process(monkeypatch):
    """A function that hears of nothing: killed with its process; the others are none the worse."""
    pytest.importorskip("joblib")
    monkeypatch.setattr(processes, "GRACE", 2.0)
    _, ys, members = problem(1, 8)
    limit = float(np.sort(members[:, 0])[-2])

    def deaf(rng, x, t, interval):
        while x[0] > limit:
            with contextlib.suppress(BaseException):
                time.sleep(600)
        return x + rng.normal(size=3)

    result = run(
        kd.MemberSimulator(deaf, workers=2, processes=True, timeout=0.5), ENKF, members, ys
    )
    deaf_one = int(np.argmax(members[:, 0]))
    assert result.failures == (
        kd.Failure(0, deaf_one, "dynamics", "TimeoutError: not done after 0.5 s"),
    )


def test_a_time_out_needs_processes():
    with pytest.raises(
        ValueError, match=r"timeout: expected `processes=True` .* a thread cannot be"
    ):
        kd.MemberSimulator(faulty, workers=4, timeout=1.0)
    with pytest.raises(ValueError, match="timeout: expected a finite positive number"):
        kd.MemberSimulator(faulty, processes=True, timeout=0.0)


def leaves(rng, x, t, interval):
    sys.exit("bye")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_function_that_exits_does_not_end_the_run(workers):
    _, ys, members = problem(1, 4)
    with pytest.raises(RuntimeError, match=r"SystemExit: it called sys\.exit\('bye'\)"):
        run(kd.MemberSimulator(leaves, workers=workers), ENKF, members, ys)
