"""One model, written in JAX, in NumPy and as a program: one result."""

from __future__ import annotations

import sys
from pathlib import Path

import host_lorenz63 as numpy_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

SCRIPT = Path(numpy_model.__file__)
N, CYCLES = 20, 6
FILTERS = {
    "enkpf": kd.EnKPF(),
    "enkf": kd.EnKF(inflation=1.02),
    "letkf": kd.LETKF(kd.Localisation(np.arange(3.0), np.array([2.0]), 2.0)),
    "lenkpf": kd.LEnKPF(kd.Localisation(np.arange(3.0), np.array([2.0]), 2.0)),
    "sir": kd.SIR(jitter=0.5),
    "kde": kd.KDEDiffusion(0.5, 5.0, sampler=kd.ExactMixture()),
}
OBSERVATION = kd.GaussianObservation(kd.Select([2]), 2.0)


def program(**options):
    return kd.ProgramSimulator([sys.executable, str(SCRIPT), "{interval}"], timeout=60, **options)


@pytest.fixture
def problem(x64):
    rng = np.random.default_rng(5)
    truth = np.array([1.0, 3.0, 20.0])
    members = truth + rng.normal(size=(N, 3))
    model = kd.Lorenz63(interval=0.1)
    _, ys = kd.twin_experiment(jax.random.key(0), model, OBSERVATION, jnp.asarray(truth), CYCLES)
    return model, jnp.asarray(members), ys


def run(dynamics, observation, analysis, members, ys, **options):
    return kd.assimilate(
        jax.random.key(3), dynamics, observation, analysis, members, ys,
        save=kd.save_ensembles, **options,
    ).raise_if_failed()  # fmt: skip


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", ["enkpf", "enkf", "sir", "kde"])
def test_a_numpy_model_gives_the_ensemble_of_the_jax_model(name, problem):
    model, members, ys = problem
    expected = run(model, OBSERVATION, FILTERS[name], members, ys)
    host = kd.HostDynamics(numpy_model.step, 0.1)
    found = run(host, OBSERVATION, FILTERS[name], members, ys)
    np.testing.assert_allclose(found.saved, expected.saved, atol=1e-5)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-5)
    np.testing.assert_allclose(found.state.reserve, expected.state.reserve, atol=1e-5)
    assert found.state.t == expected.state.t and found.failures == expected.failures == ()


def test_a_program_gives_the_ensemble_of_the_jax_model(problem):
    model, members, ys = problem
    members, ys = members[:10], ys[:2]
    expected = run(model, OBSERVATION, FILTERS["enkf"], members, ys)
    runs = [
        run(kd.HostDynamics(program(workers=w), 0.1), OBSERVATION, FILTERS["enkf"], members, ys)
        for w in (1, 2)
    ]
    np.testing.assert_allclose(runs[0].saved, expected.saved, atol=1e-5)
    same(runs[0], runs[1])


def test_workers_chunks_and_loops_give_the_same_bits(problem):
    _, members, ys = problem
    times = np.array([0.1, 0.25, 0.55, 0.6, 0.8, 1.0])
    observation = kd.HostObservation(kd.MemberSimulator(numpy_model.noisy_z))
    analysis = kd.EnKF(noise="pairs")

    def modules(**options):
        return kd.HostDynamics(kd.MemberSimulator(numpy_model.noisy, **options), 0.1), observation

    whole = run(*modules(), analysis, members, ys, times=times)
    same(whole, run(*modules(workers=2), analysis, members, ys, times=times))
    first = run(*modules(), analysis, members, ys[:2], times=times[:2])
    second = kd.resume(
        first.state, *modules(), analysis, ys[2:], save=kd.save_ensembles, times=times[2:]
    )
    same(second.state, whole.state)
    same(np.concatenate([first.saved, second.saved]), np.asarray(whole.saved))
    state = kd.init(jax.random.key(3), members)
    for k, (y, t) in enumerate(zip(ys, times, strict=True)):
        state, output = kd.cycle(state, *modules(), analysis, y, t=t)
        same(output.analysis, whole.saved[k])
        same(output.info, jax.tree.map(lambda each, k=k: each[k], whole.info))
    same(state, whole.state)
    other = kd.assimilate(jax.random.key(4), *modules(), analysis, members, ys, times=times)
    assert np.abs(other.ensemble - whole.ensemble).max() > 1e-3  # another key, other noise


def test_processes_give_the_same_bits(problem):
    pytest.importorskip("joblib")
    _, members, ys = problem
    found = [
        run(
            kd.HostDynamics(kd.MemberSimulator(numpy_model.noisy, **options), 0.1),
            OBSERVATION, FILTERS["enkf"], members, ys[:2],
        )
        for options in ({}, {"workers": 2, "processes": True})
    ]  # fmt: skip
    same(*found)


@pytest.mark.parametrize("whole", [False, True])
def test_irregular_times(whole, problem):
    """Steps of at most one interval, or whole ones, as those of a JAX model."""
    model, members, ys = problem
    times = np.array([0.1, 0.3, 0.4, 0.7, 0.8, 1.0]) if whole else np.cumsum([0.07, 0.25] * 3)

    class Whole(kd.AbstractDynamics):
        interval: float = 0.1

        def step(self, key, x, t):
            return model.step(key, x, t)

    jax_model = Whole() if whole else kd.Lorenz63(interval=0.1)
    arguments = OBSERVATION, FILTERS["enkf"], members, ys
    expected = run(jax_model, *arguments, times=times, t0=0.0)
    host = kd.HostDynamics(numpy_model.step, 0.1, whole_intervals=whole)
    found = run(host, *arguments, times=times, t0=0.0)
    np.testing.assert_allclose(found.saved, expected.saved, atol=1e-5)
    if whole:
        with pytest.raises(ValueError, match=r"whole multiples of the model.s interval 0\.1"):
            run(host, *arguments, times=times + 0.05)


def clock(rng, X, t, interval):
    return np.stack([np.full(len(X), t), np.full(len(X), interval)], axis=1)


def test_what_a_function_gets(x64):
    seen = []

    def measure(rng, X, t):
        seen.append(t)
        return X + 0.0

    arguments = kd.KDEDiffusion(0.1, 1.0, sampler=kd.ExactMixture()), jnp.zeros((4, 2))
    dynamics, observation = kd.HostDynamics(clock, 0.5), kd.HostObservation(measure)
    result = kd.assimilate(
        jax.random.key(0), dynamics, observation, *arguments, jnp.zeros((3, 2)),
        t0=1.0, times=[1.5, 2.25, 2.5], save=forecast_of,
    )  # fmt: skip
    # the interval of 0.75 is two steps of 0.375
    np.testing.assert_allclose(result.saved[:, 0], [[1.0, 0.5], [1.875, 0.375], [2.25, 0.25]])
    np.testing.assert_allclose(seen, [1.5, 2.25, 2.5])


def forecast_of(output):
    return output.forecast


def dtypes_of(output):
    return output.forecast, output.analysis


def test_float32_stays_float32():
    seen = set()

    def step(rng, X, t, interval):
        seen.add(X.dtype.name)
        return X.astype("float64") + rng.normal(size=X.shape)

    members, ys = jnp.zeros((6, 2), "float32") + jnp.arange(6.0)[:, None], jnp.zeros((2, 1))
    observation = kd.GaussianObservation(kd.HostOperator(lambda X: X[:, :1].astype("float64")), 1.0)
    arguments = kd.HostDynamics(step, 1.0), observation, kd.EnKPF(), members, ys
    result = kd.assimilate(jax.random.key(0), *arguments, save=dtypes_of)
    assert seen == {"float32"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves((result.saved, result.mean))} == {"float32"}


@pytest.mark.parametrize("name", ["sir", "enkf", "letkf", "kde"])
def test_an_operator_in_numpy_is_that_of_jax(name, problem):
    """Schemes that ask for h at the members alone: the same numbers."""
    model, members, ys = problem
    operator = kd.HostOperator(kd.MemberSimulator(numpy_model.z_of))
    observation = kd.GaussianObservation(operator, 2.0)
    expected = run(model, OBSERVATION, FILTERS[name], members, ys)
    found = run(model, observation, FILTERS[name], members, ys)
    np.testing.assert_allclose(found.saved, expected.saved, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["enkpf", "lenkpf"])
def test_a_linear_operator_in_numpy_has_a_linear_response(name, problem):
    """Of moved members h is known by regression: without noise it is exact, but for a ridge."""
    model, members, ys = problem
    members = jnp.concatenate([members] + [members + 0.3 * k for k in range(1, 10)])
    observation = kd.GaussianObservation(kd.HostOperator(numpy_model.z_of), 2.0)
    expected = run(model, OBSERVATION, FILTERS[name], members, ys[:1])
    found = run(model, observation, FILTERS[name], members, ys[:1])
    spread = np.std(expected.saved, axis=1)
    assert np.all(np.abs(found.mean - expected.mean) < 0.05 * spread)
    np.testing.assert_allclose(np.std(found.saved, axis=1), spread, rtol=0.05)


SIMULATED = {
    "kde, replicates": kd.KDEDiffusion(0.5, 5.0, replicates=3, sampler=kd.ExactMixture()),
    "enkf, pairs": kd.EnKF(noise="pairs"),
    "enkf, sampled": kd.EnKF(noise="sampled"),
    "enkpf": kd.EnKPF(),
    "lenkpf": FILTERS["lenkpf"],
}


class Noisy(kd.AbstractObservation):
    """The measurement of `noisy_z`, in JAX."""

    def sample(self, key, x, t):
        return x[2:] + 2.0 * jax.random.normal(key, (1,), x.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMULATED)
def test_simulated_measurements_of_numpy_are_as_good_as_those_of_jax(name, problem):
    """Other random numbers, the same law: equal but for sampling noise."""
    model, members, ys = problem
    members = jnp.asarray(np.random.default_rng(1).normal(size=(300, 3)) + np.asarray(members[0]))
    host = kd.HostObservation(numpy_model.noisy_z)
    found, expected = (
        run(model, each, SIMULATED[name], members, ys[:1]) for each in (host, Noisy())
    )
    spread = np.std(expected.saved, axis=1)
    assert np.all(np.abs(found.mean - expected.mean) < 4 * spread * (2 / 300) ** 0.5)
    np.testing.assert_allclose(np.std(found.saved, axis=1), spread, rtol=0.25)
