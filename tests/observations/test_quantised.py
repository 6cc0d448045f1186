"""Quantised measurements: the probabilities of the levels are those of their draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import kdediff_jax as kd


def instrument(**settings):
    given = {"std": 0.4, "step": 0.5, "low": -1.0, "high": 1.5, **settings}
    return kd.QuantisedObservation(kd.Identity(), **given)


LEVELS = np.arange(-1.0, 1.51, 0.5)


def probabilities(observation, x, levels=LEVELS):
    def log_likelihood(y):
        return observation.log_likelihood(y[None], x, 0.0)

    return np.exp(np.asarray(jax.vmap(log_likelihood)(jnp.asarray(levels, x.dtype)), np.float64))


@pytest.mark.parametrize("at", [-3.0, -0.3, 0.25, 1.4, 7.0])
def test_probabilities_are_scipys_and_sum_to_one(at, dtype):
    found = probabilities(instrument(), jnp.asarray([at], dtype))
    edges = np.concatenate([[-np.inf], LEVELS[:-1] + 0.25, [np.inf]])
    expected = np.diff(stats.norm(at, 0.4).cdf(edges))
    np.testing.assert_allclose(found, expected, atol=20 * jnp.finfo(dtype).eps)
    assert abs(found.sum() - 1) < 20 * jnp.finfo(dtype).eps


def test_draws_have_these_probabilities(key):
    x, n = jnp.asarray([0.3]), 40_000
    observation = instrument()
    y = jax.vmap(lambda k: observation.sample(k, x, 0.0))(jax.random.split(key, n))
    counts = [(np.asarray(y) == level).sum() for level in LEVELS.astype(np.float32)]
    assert sum(counts) == n  # there is nothing between the levels
    expected = n * probabilities(observation, x)
    assert stats.chisquare(counts, expected * (n / expected.sum())).pvalue > 1e-3


@pytest.mark.parametrize("distance", [5.0, 20.0, 200.0])
def test_far_levels_keep_their_order(distance, dtype):
    """Far out, where a difference of two normal probabilities is 0 or 1 - 1, on both sides."""
    observation = instrument(low=-np.inf, high=np.inf)
    for side in (-1, 1):
        x = jnp.asarray([-side * distance], dtype)
        near, far = (
            observation.log_likelihood(jnp.asarray([side * level], dtype), x, 0.0)
            for level in (1.0, 1.5)
        )
        assert np.isfinite(near) and np.isfinite(far) and far < near
        if distance == 5.0:
            exact = stats.norm.logsf((distance + 0.75) / 0.4)
            np.testing.assert_allclose(near, exact, rtol=1e-4)


def test_small_noise_is_a_box():
    """Inside the cell all states are equally likely, outside none is."""
    observation = instrument(std=1e-3)
    x = jnp.asarray([-0.2, 0.0, 0.2, 0.3])
    y = jnp.asarray([0.0])
    found = jax.vmap(lambda x: observation.log_likelihood(y, x[None], 0.0))(x)
    np.testing.assert_allclose(found[:3], 0, atol=1e-6)
    assert found[3] < -100


def test_missing_components_say_nothing_and_components_add(dtype):
    observation = instrument(std=[0.4, 0.2], step=[0.5, 1.0], low=-np.inf, high=[1.5, 4.0])
    x = jnp.asarray([0.1, 2.2], dtype)
    whole, first, second, none = (
        float(observation.log_likelihood(jnp.asarray(y, dtype), x, 0.0))
        for y in ((0.5, 2.0), (0.5, np.nan), (np.nan, 2.0), (np.nan, np.nan))
    )
    assert none == 0 and first < 0 and second < 0
    np.testing.assert_allclose(whole, first + second, rtol=1e-5)


def test_sir_finds_the_posterior_of_a_box(key):
    """x ~ N(0, 1) read as 1 with little noise: the normal law cut off at 0.75 and 1.25."""
    observation = instrument(std=1e-3)
    members = jax.random.normal(key, (20_000, 1))
    drawn, info = kd.SIR()(key, members, jnp.asarray([1.0]), observation)
    exact = stats.truncnorm(0.75, 1.25)
    assert info.ok and abs(float(info.mean[0]) - exact.mean()) < 5 * exact.std() / 2000**0.5
    assert float(drawn.min()) > 0.74 and float(drawn.max()) < 1.26


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"std": 0.0}, "std: expected a finite positive"),
        ({"step": -1.0}, "step: expected a finite positive"),
        ({"low": -0.7}, "low: expected a multiple of step"),
        ({"high": 1.2}, "high: expected a multiple of step"),
        ({"high": np.nan}, "high: expected a level"),
        ({"low": 2.0}, "low: expected below high"),
    ],
)
def test_bad_numbers_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        instrument(**settings)


def test_what_is_no_function_is_named():
    with pytest.raises(TypeError, match="operator: expected a callable"):
        kd.QuantisedObservation(kd.Identity, 1.0, 1.0)
