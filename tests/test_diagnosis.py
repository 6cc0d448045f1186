"""What a run says of its health, in words: on runs that go wrong, and on reports made up."""

from __future__ import annotations

import functools
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import schemes as registry
from schemes import quick

import kdediff_jax as kd
from kdediff_jax.diagnosis import diagnose, failure

NAN, INF = float("nan"), float("inf")
MEMBERS, CYCLES = 40, 40
CLASSES = registry.first_of_each_class()


class Turn(kd.AbstractDynamics):
    """A linear model that keeps its state, with little noise."""

    interval: float = 1.0

    def step(self, key, x, t):
        return jnp.roll(x, 1) + 0.1 * jax.random.normal(key, x.shape, x.dtype)


class Defined(eqx.Module):
    """A matrix; not a number for states with a first coordinate below a limit, as a log has it."""

    matrix: Any
    limit: Any

    def __call__(self, x):
        h = kd.Linear(self.matrix)(x)
        return jnp.where(x[0] < jnp.asarray(self.limit, x.dtype), jnp.nan, h)


@functools.cache
def filtered(name):
    """Return the compiled (problem, limit, ensemble, ys) -> result of a scheme."""

    def call(problem, limit, ensemble, ys):
        observation = kd.GaussianObservation(Defined(problem.matrix, limit), problem.std)
        scheme = registry.SCHEMES[name].build(problem)
        return kd.assimilate(jax.random.key(1), Turn(), observation, scheme, ensemble, ys)

    return quick(call)


def arguments(name, stated=1.0, limit=-INF, away=0.0):
    """Return a twin experiment, the noise `stated` times too large, the truth `away` of it all."""
    own, (d, _) = registry.problem(name), registry.size(name)
    observation = kd.GaussianObservation(kd.Linear(own.matrix), own.std)
    _, ys = kd.twin_experiment(jax.random.key(2), Turn(), observation, jnp.zeros(d), CYCLES)
    ensemble = jax.random.normal(jax.random.key(3), (MEMBERS, d))
    own = own._replace(std=stated * own.std)
    return jax.tree.map(lambda x: jnp.asarray(x, "float32"), (own, limit, ensemble, ys + away))


@pytest.mark.parametrize("name", CLASSES)
def test_a_sound_run_is_healthy(name):
    result = filtered(name)(*arguments(name))
    found = result.diagnose()
    assert found.healthy and found.kinds == (), found
    assert 0.5 < found.innovation < 1.5 and 0 < found.innovation_error < 0.3
    assert (found.cycles, found.members, found.runs) == (CYCLES, MEMBERS, 1)
    assert str(found).startswith("40 cycles: healthy (normalised innovation ")
    assert repr(found) == str(found) and "\n" not in str(found)


@pytest.mark.parametrize("name", CLASSES)
def test_noise_stated_a_hundred_times_too_small_or_large(name):
    found = filtered(name)(*arguments(name, stated=0.01)).diagnose()
    assert "under-dispersed" in found.kinds and found.innovation > 2, found
    found = filtered(name)(*arguments(name, stated=100.0)).diagnose()
    assert found.kinds[0] == "over-dispersed" and found.innovation < 0.05, found


@pytest.mark.parametrize("name", CLASSES)
def test_a_truth_a_million_standard_deviations_away(name):
    result = filtered(name)(*arguments(name, away=1e6))
    found = result.diagnose()
    assert np.isfinite(result.ensemble).all()
    assert "under-dispersed" in found.kinds and found.innovation > 1e6, found
    gross = np.asarray(result.info.num_gross_errors)
    assert ("measurements rejected" in found.kinds) == bool(gross.any())
    scheme = registry.SCHEMES[name].build(registry.problem(name))
    inside = getattr(scheme, "scheme", scheme)  # of a wrapper such as `LiuWest`
    assert gross.all() == isinstance(inside, kd.AbstractKalmanAnalysis)
    assert "units" in str(found)


@pytest.mark.parametrize("name", CLASSES)
def test_an_operator_that_is_undefined_for_some_states(name):
    own, _, *rest = arguments(name)
    result = filtered(name)(own, jnp.float32(-1.0), *rest)
    masked = np.asarray(result.info.num_masked)
    found = result.diagnose()
    assert "members masked" in found.kinds, found
    (finding,) = [f for f in found.findings if f.kind == "members masked"]
    assert finding.figure == masked.mean() > 0 and finding.expected == 0
    assert f"in {(masked > 0).sum()} of 40 cycles" in finding.what
    assert f"at most {masked.max()} of 40" in finding.what and "log or root" in finding.advice


def test_a_batch_names_its_runs():
    cases = [arguments("enkf"), arguments("enkf", stated=0.01), arguments("enkf", away=1e6)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *cases)
    result = jax.vmap(filtered("enkf"))(*batch)
    found = result.diagnose()
    by_kind = {finding.kind: finding for finding in found.findings}
    assert found.runs == 3 and by_kind["under-dispersed"].runs == ((1,), (2,))
    assert "under-dispersed: 2 of 3 runs, the first run 1: the mean" in str(found)
    alone = filtered("enkf")(*cases[1]).diagnose()
    (single,) = [f for f in alone.findings if f.kind == "under-dispersed"]
    np.testing.assert_allclose(by_kind["under-dispersed"].figure, single.figure, rtol=1e-3)
    # two axes of a batch: the index has two numbers
    square = jax.tree.map(lambda x: np.stack([x, x]), result.info)
    (first, *_) = diagnose(square, MEMBERS).findings
    assert first.runs == ((0, 1), (0, 2), (1, 1), (1, 2))


def report(cycles=50, **fields):
    """Return the report of a healthy run of twenty members, with some fields replaced."""
    rng = np.random.default_rng(0)
    info = kd.AnalysisInfo(
        ess=np.full(cycles, 12.0),
        num_steps=np.zeros(cycles, int),
        num_rejected=np.zeros(cycles, int),
        ok=np.ones(cycles, bool),
        num_masked=np.zeros(cycles, int),
        num_gross_errors=np.zeros(cycles, int),
        num_unreached=np.zeros(cycles, int),
        normalised_innovation=rng.chisquare(1, cycles),
        mean=np.ones((cycles, 2)),
    )
    return info._replace(**fields)


def at(cycles, value, default=0.0, size=50):
    out = np.full(size, default)
    out[list(cycles)] = value
    return out


@pytest.mark.parametrize("cycles", [1, 2, 4, 10, 50, 1000])
def test_chance_is_no_finding(cycles):
    """At most the few in a thousand that three standard deviations are."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(1000):
        innovation = rng.chisquare(1, cycles)
        alarms += not diagnose(report(cycles, normalised_innovation=innovation), 20).healthy
    assert alarms <= 6


@pytest.mark.parametrize(("factor", "kind"), [(4, "under-dispersed"), (1 / 8, "over-dispersed")])
def test_power(factor, kind):
    """A standard deviation wrong by 2 (2.8) is seen in 50 cycles of one component."""
    rng = np.random.default_rng(2)
    seen = 0
    for _ in range(200):
        innovation = factor * rng.chisquare(1, 50)
        seen += diagnose(report(normalised_innovation=innovation), 20).kinds == (kind,)
    assert seen >= 180


def test_few_bad_measurements_do_not_make_an_under_dispersed_filter():
    innovation = report().normalised_innovation
    wild = np.where(np.arange(50) % 20 == 7, 1e8, innovation)
    found = diagnose(report(normalised_innovation=wild), 20)
    assert found.kinds == ("wild measurements",) and found.findings[0].figure == 1e8
    assert "in 3 of 50 cycles, the first 7" in found.findings[0].what
    rejected = at((7, 27, 47), 2).astype(int)
    found = diagnose(report(normalised_innovation=wild, num_gross_errors=rejected), 20)
    assert found.kinds == ("measurements rejected",) and found.findings[0].figure == 0.06
    assert "6 components in 3 of 50 cycles" in str(found) and "-9999" in str(found)
    assert found.innovation < 2
    # an innovation that has overflowed, and cycles without a measurement
    found = diagnose(report(normalised_innovation=at((3,), INF, 1.0)), 20)
    assert found.kinds == ("wild measurements",)
    found = diagnose(report(normalised_innovation=np.full(50, INF)), 20)
    assert found.kinds == ("under-dispersed",)
    found = diagnose(report(normalised_innovation=np.full(50, NAN)), 20)
    assert found.healthy and np.isnan(found.innovation) and "innovation" not in str(found)
    assert diagnose(report(normalised_innovation=at(range(0, 50, 2), NAN, 1.0)), 20).healthy


def test_weights_that_collapse():
    assert diagnose(report(ess=at((1, 2, 3), 1.5, 12.0)), 20).healthy  # rare
    found = diagnose(report(ess=at(range(30), 1.5, 12.0)), 20)
    assert found.kinds == ("ESS collapsed",)
    assert (found.findings[0].figure, found.findings[0].expected) == (1.5, 5.0)
    assert "in 30 of 50 cycles fewer than 5 of 20" in str(found)
    assert diagnose(report(ess=np.full(50, 2.5)), 8).healthy  # a quarter of eight is two


def test_an_ensemble_without_spread():
    spread = np.ones((50, 2), "float32")
    assert diagnose(report(), 20, spread).healthy
    spread[-1] = 1e-8
    assert diagnose(report(), 20, spread).kinds == ("no spread",)
    spread[-1] = [1e-8, 1.0]  # one coordinate may be constant
    assert diagnose(report(), 20, spread).healthy


def test_nothing_has_nothing_wrong():
    found = diagnose(report(0), 20, np.ones((0, 2)))
    assert found.healthy and found.cycles == 0 and np.isnan(found.ess)


FAILURES = {
    "few members": ({"num_masked": 19}, "19 of 20 .*without a prediction.*fewer than two"),
    "most members": ({"num_masked": 11}, "11 of 20 .*without a prediction.*fewer than half"),
    "measurement": ({"num_masked": 10}, "^the analysis is not finite, or the measurement is inf"),
    "solve": ({"num_steps": 7, "num_rejected": 3}, "solve did not succeed in 7 .* and 3 rejected"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_names_its_reason(case):
    changes, said = FAILURES[case]
    fields = {name: at((4,), value).astype(int) for name, value in changes.items()}
    info = report(ok=at((4,), 0, 1).astype(bool), **fields)
    why, advice = failure(info, 20, (4,))
    assert re.search(said, why) and advice
    assert ("solve" in why) == (case == "solve")
    found = diagnose(info, 20)
    assert found.kinds[0] == "failed cycles" and found.findings[0].figure == 1
    assert f"1 of 50 cycles failed; the first, cycle 4: {why}" in str(found)


@pytest.mark.parametrize("name", ["sir", "enkf"])
def test_what_runs_say_when_they_fail(name):
    own, limit, ensemble, ys = arguments(name)

    def said(limit, ys):
        result = filtered(name)(own, jnp.float32(limit), ensemble, ys)
        with pytest.raises(RuntimeError) as caught:
            result.raise_if_failed()
        return str(caught.value)

    infinite = said(limit, ys.at[3, 0].set(INF))
    assert infinite.startswith("cycle 3 (counted from 0) failed: the analysis is not finite, or")
    assert "measurement is infinite" in infinite and "forecast went on" in infinite
    few = said(1.0, ys)  # most members lie where there is no prediction
    assert "fewer than half are left" in few and "without a prediction" in few
    for message in (infinite, few):
        assert "diffusion" not in message and "solve" not in message


def test_predictions_that_are_lost_are_not_members_that_are_not_finite():
    own, _, ensemble, ys = arguments("enkf")
    result = filtered("enkf")(own, jnp.float32(100.0), ensemble, ys)
    with pytest.raises(
        RuntimeError, match=r"cycle 0 .* 40 of 40 .* without a prediction"
    ) as caught:
        result.raise_if_failed()
    assert "fewer than two are left" in str(caught.value)
    assert "operator returns NaN" in str(caught.value)
