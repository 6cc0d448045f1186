"""Kernels of the mixture: their shape, between two covariances, and their width."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick
from stages import predicted

import kdediff_jax as kd
from kdediff_jax.analysis.enkpf.mixture import particle_weights, weigh
from kdediff_jax.bandwidths import silverman

EACH = 3.0
KEY = jax.random.key(5)


@quick
def both(x, y, width, std=1.0, alive=None):
    """Posteriors of members `x` measured as they are: for width h, for width 0, and mixed."""
    forecast = predicted(kd.GaussianObservation(kd.Identity(), std), x, y, alive=alive)
    width, share = jnp.asarray(width, x.dtype), jnp.ones((), x.dtype)
    smoothed, particles = (weigh(forecast, h, share) for h in (width, 0.0))
    shape, weights = kd.WeightedShape(EACH), particle_weights(forecast, share)
    return smoothed, particles, shape(forecast, weights, width, share)


def moments(mixture):
    """Mean and covariance of a mixture, in NumPy."""
    w = np.exp(np.asarray(mixture.log_weights))
    means, root = np.asarray(mixture.means), np.asarray(mixture.root)
    mean = w @ means
    return mean, (means - mean).T @ (w[:, None] * (means - mean)) + root @ root.T


def test_moments_of_many_weighted_members_stay(x64):
    x = jax.random.normal(KEY, (20_000, 2), x64) @ jnp.asarray([[1.0, 0.5], [0.0, 2.0]])
    _, particles, mixed = both(x, jnp.asarray([1.0, -1.0]), 0.3)
    mean, covariance = moments(mixed)
    expected_mean, expected_covariance = moments(particles)
    # the part for the forecast's kernel is 9 / ESS, about 2e-3
    np.testing.assert_allclose(mean, expected_mean, atol=1e-3)
    np.testing.assert_allclose(covariance, expected_covariance, rtol=5e-3, atol=5e-3)


def test_too_few_effective_members_leave_the_forecast_kernel(x64):
    x = jax.random.normal(KEY, (40, 8), x64)
    smoothed, particles, mixed = both(x, jnp.zeros(8), 0.5)
    assert kd.kde.effective_sample_size(particles.log_weights) < EACH * 9
    np.testing.assert_allclose(mixed.means, smoothed.means, rtol=1e-12)
    np.testing.assert_allclose(mixed.log_weights, smoothed.log_weights, rtol=1e-12)


def test_infinitely_many_members_per_direction_are_the_forecasts_shape():
    x, y = jax.random.normal(KEY, (60, 1)), jnp.asarray([1.0])
    observation = kd.GaussianObservation(kd.Identity(), 0.5)

    @quick
    def analysis(each):
        return kd.EnKPF(kernel_shape=kd.WeightedShape(each))(KEY, x, y, observation)[0]

    forecasts = quick(lambda x: kd.EnKPF(kernel_shape=kd.ForecastShape())(KEY, x, y, observation))
    expected = forecasts(x)[0]
    for each in (jnp.inf, 1e9):
        np.testing.assert_allclose(analysis(each), expected, rtol=1e-5, atol=1e-5)
    assert jnp.max(jnp.abs(analysis(EACH) - expected)) > 1e-4


def test_members_of_no_weight_get_none(dtype):
    x = jax.random.normal(KEY, (100, 2), dtype)
    alive = jnp.arange(100) >= 30
    _, _, mixed = both(x, jnp.zeros(2, dtype), 0.3, alive=alive)
    np.testing.assert_array_equal(jnp.isneginf(mixed.log_weights), ~alive)
    np.testing.assert_allclose(jnp.sum(jnp.exp(mixed.log_weights)), 1, rtol=1e-5)
    assert mixed.root.dtype == dtype


def test_a_measurement_far_from_every_member_is_finite(dtype):
    x = jax.random.normal(KEY, (30, 2), dtype)
    _, _, mixed = both(x, jnp.full(2, 1e4, dtype), 0.3, std=1e-3)
    assert all(not jnp.any(jnp.isnan(leaf)) for leaf in mixed)
    assert jnp.all(jnp.isfinite(mixed.means)) and jnp.all(jnp.isfinite(mixed.root))


def test_a_bent_posterior_is_drawn_better():
    """On x_2 = x_1^2, x_1 measured: distance from the curve, against the forecast's kernel."""
    x1 = jax.random.normal(KEY, (400, 1))
    x = jnp.concatenate([x1, x1**2 + 0.05 * jax.random.normal(jax.random.key(1), (400, 1))], axis=1)
    smoothed, _, mixed = both(x, jnp.asarray([1.0, 1.0]), 0.3, std=0.3)

    def off(mixture):
        noise = jax.random.normal(jax.random.key(2), (400, 2)) @ mixture.root.T
        place = jax.random.categorical(jax.random.key(3), mixture.log_weights, shape=(400,))
        at = mixture.means[place] + noise
        return float(jnp.sqrt(jnp.mean((at[:, 1] - at[:, 0] ** 2) ** 2)))

    assert off(mixed) < 0.7 * off(smoothed)


def test_gradients_are_those_of_differences(x64):
    x = jax.random.normal(KEY, (30, 2), x64)

    @jax.jit
    @jax.value_and_grad
    def total(inputs):
        x, width = inputs
        mixed = both(x, jnp.ones(2), width)[2]
        return jnp.sum(jnp.exp(mixed.log_weights) * mixed.means[:, 0]) + jnp.sum(mixed.root)

    width, step = jnp.asarray(0.3), 1e-5
    by_members, by_width = total((x, width))[1]
    assert jnp.all(jnp.isfinite(by_members))
    difference = (total((x, width + step))[0] - total((x, width - step))[0]) / (2 * step)
    np.testing.assert_allclose(by_width, difference, rtol=1e-5)


def test_silvermans_width_makes_up_for_what_weights_cost(dtype):
    rule = kd.SilvermanWidth(factor=0.8, minimum_loss=0.2)
    lost = jnp.asarray([0.0, 0.2, 0.7], dtype)
    expected = 0.8 * silverman(50, 3) * np.sqrt([0.2, 0.2, 0.7])
    widths = rule(50, 3, lost)
    np.testing.assert_allclose(widths, expected, rtol=1e-6)
    assert widths.dtype == dtype
    # beyond 1 there is no mixture with the members' variance
    assert kd.SilvermanWidth(10.0)(50, 3, lost[-1]) <= 1
    np.testing.assert_array_equal(kd.FixedWidth(0.4)(50, 3, lost[0]), jnp.asarray(0.4, dtype))
    slope = jax.grad(lambda lost: kd.SilvermanWidth(minimum_loss=0.0)(50, 3, lost))
    assert jnp.isfinite(slope(lost[0]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.WeightedShape(members_per_direction=0.0), "members_per_direction"),
        (lambda: kd.WeightedShape(width_ratio=-1.0), "width_ratio"),
        (lambda: kd.EnKPF(kernel_width=2.0), "kernel_width: expected at most 1"),
        (lambda: kd.EnKPF(kernel_width=0.0), "kernel_width"),
        (lambda: kd.EnKPF(kernel_width=[0.1, 0.2]), "kernel_width: expected a number"),
        (lambda: kd.SilvermanWidth(0.0), "factor"),
        (lambda: kd.SilvermanWidth(minimum_loss=-0.1), "minimum_loss"),
    ],
)
def test_bad_options_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
