"""Forecasts: what a run gives for rows of NaN, and the exact law of a linear model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_run_problem import Spiral, arguments, same

import kdediff_jax as kd

LEVELS = (0.0, 0.1, 0.5, 1.0)
CASES = {
    "intervals": (5, {}),
    "times": (None, {"times": 1.7e9 + np.array([2.5, 2.51, 3.0, 7.0])}),
}


@pytest.fixture(scope="module")
def past():
    key, *modules, ensemble, ys = arguments()
    return kd.assimilate(key, *modules, ensemble, ys, t0=1.7e9, origin=1.7e9)


def keep(output):
    return output.analysis, output.elapsed


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_run_without_measurements(name, past):
    cycles, times = CASES[name]
    _, *modules, _, _ = arguments()
    total = cycles or len(times["times"])
    expected = kd.resume(past.state, *modules, jnp.full((total, 1), jnp.nan), save=keep, **times)
    members, elapsed = expected.saved
    found = kd.forecast(past.state, Spiral(), cycles, quantiles=LEVELS, ensembles=True, **times)
    np.testing.assert_allclose(found.ensembles, members, rtol=1e-6)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        found.times, times.get("times", 1.7e9 + np.asarray(elapsed, float))
    )
    np.testing.assert_allclose(found.levels, LEVELS)
    exact = np.moveaxis(np.quantile(found.ensembles, LEVELS, axis=1), 0, 1)
    np.testing.assert_allclose(found.quantiles, exact, rtol=1e-5, atol=1e-6)
    assert found.quantiles.shape == (total, 4, 2) and np.all(found.ok)
    members = found.ensembles.shape[1]
    assert repr(found) == (
        f"Forecast({total} times, d=2, 4 quantiles, members {members} of each time)"
    )
    same(found.state.clock, expected.state.clock)
    # in two parts, and from the state of a file
    if cycles:
        first = kd.forecast(past.state, Spiral(), 3)
        second = kd.forecast(first.state, Spiral(), 2)
        assert first.ensembles is None and np.all(first.times < second.times[0])
        np.testing.assert_array_equal(second.mean[-1], found.mean[-1])


def test_the_next_cycle_assimilates_into_it(past):
    _, *modules, _, _ = arguments()
    found = kd.forecast(past.state, Spiral(), 1, ensembles=True)
    _, output = kd.cycle(past.state, *modules, jnp.asarray([0.2]))
    np.testing.assert_allclose(found.ensembles[0], output.forecast, rtol=1e-6)


def test_quantiles_of_a_random_walk_are_those_of_its_normal_law(dtype):
    n, std, cycles = 4000, 0.7, 9
    state = kd.init(jax.random.key(0), jnp.zeros((n, 1), dtype))
    found = kd.forecast(state, kd.RandomWalk(std), cycles, quantiles=(0.159, 0.5, 0.841))
    assert found.quantiles.dtype == dtype == found.mean.dtype
    spread = std * np.sqrt(np.arange(1, cycles + 1))[:, None]
    exact = spread * np.array([-1, 0, 1]) * 0.9986  # of the standard normal law
    error = spread * np.sqrt(0.159 * 0.841 / n) / 0.242  # of a quantile, density at one sigma
    assert np.all(np.abs(found.quantiles[:, :, 0] - exact) < 4 * error)
    np.testing.assert_allclose(found.times, np.arange(1, cycles + 1))


def test_under_jit_and_vmap(past):
    whole = kd.forecast(past.state, Spiral(), 3)

    def moved(shift):
        state = past.state._replace(ensemble=past.state.ensemble + shift)
        found = kd.forecast(state, Spiral(), 3)
        return found.quantiles, found.times

    quantiles, times = jax.jit(jax.vmap(moved))(jnp.asarray([0.0, 1.0]))
    np.testing.assert_allclose(quantiles[0], whole.quantiles, rtol=1e-5, atol=1e-6)
    assert np.abs(quantiles[1] - whole.quantiles).min() > 0.1
    np.testing.assert_allclose(times[1], whole.times, rtol=1e-6)


class Lost(kd.AbstractDynamics):
    """Members right of 0 are lost."""

    interval: float = 1.0

    def step(self, key, x, t):
        return jnp.where(x[0] > 0, jnp.nan, x - 1)


def test_lost_members_have_stand_ins_and_are_told():
    start = jnp.asarray([[-1.0], [-2.0], [-3.0], [4.0], [5.0], [6.0], [7.0], [8.0]])
    found = kd.forecast(kd.init(jax.random.key(0), start), Lost(), 2)
    assert np.all(np.isfinite(found.quantiles)) and found.ok.tolist() == [False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "forecast: expected either cycles or times, got cycles=None, times=None"),
        ({"cycles": 2, "times": [1.0]}, "expected either cycles or times, got cycles=2"),
        ({"cycles": 0}, "cycles: expected at least 1, got 0"),
        ({"times": 3.0}, r"times: expected 1, one a row of ys, got \(\)|times: expected"),
        ({"times": [1.7e9]}, "times: expected times that increase, the first after"),
        ({"cycles": 1, "quantiles": [1.5]}, "quantiles: expected probabilities between 0 and 1"),
        ({"cycles": 1, "quantiles": []}, "quantiles: expected probabilities"),
        ({"cycles": 1, "quantiles": 0.5}, "quantiles: expected probabilities"),
    ],
)
def test_wrong_arguments_are_named(options, message, past):
    with pytest.raises(ValueError, match=message):
        kd.forecast(past.state, Spiral(), **options)
    with pytest.raises(TypeError, match="state: expected a FilterState, got ArrayImpl"):
        kd.forecast(past.ensemble, Spiral(), 1)
