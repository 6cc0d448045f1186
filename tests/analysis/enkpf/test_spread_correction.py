"""The spread that innovations ask for: a little always, much where a forecast is lost."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import kdediff_jax as kd
from kdediff_jax.analysis.innovations import (
    adapt,
    componentwise,
    credible,
    innovation,
    probable_factor,
    surprise_factor,
)
from kdediff_jax.analysis.noise import split

ALIVE = jnp.ones(200, bool)
THRESHOLD = 4.0


def judged(key, members, y, observation, doubt=0.0):
    measurement = split(observation, key, members, jnp.zeros(()))
    y = jnp.asarray(y, members.dtype)
    rules = jnp.asarray(THRESHOLD), jnp.asarray(doubt)
    return adapt(members, ALIVE, y, measurement, measurement.covariance, *rules)


def identity(std, of=kd.GaussianObservation):
    return of(kd.observations.identity, std)


def test_surprise_factor_makes_the_measurement_credible(x64):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(4, 4))
    signal, noise = jnp.asarray(a @ a.T * 0.1), jnp.asarray(np.diag([1.0, 2.0, 0.5, 1.0]))
    e = jnp.array([2.0, -3.0, 2.0, 3.0])
    threshold, bound = 2.0, 4 + 2.0 * 8**0.5

    def surprise(f):
        return float(e @ jnp.linalg.solve(f**2 * signal + noise, e))

    def factor(e):
        return surprise_factor(innovation(e, signal, noise, jnp.ones(4, bool)), threshold)

    assert surprise(1.0) > bound and 1 < factor(e) < 10
    np.testing.assert_allclose(surprise(float(factor(e))), bound, rtol=1e-2)
    assert factor(0.1 * e) == 1
    assert factor(1e3 * e) == pytest.approx(10)


def test_probable_factor_maximises_its_posterior(x64):
    """Against a search of log p(e | f) + log p(f) written out in NumPy."""
    rng = np.random.default_rng(2)
    a = rng.normal(size=(5, 5))
    signal, noise, doubt = a @ a.T, np.diag([1.0, 2.0, 0.5, 1.0, 3.0]), 0.4
    u = np.linspace(-2, 2, 4001)
    for scale in (0.2, 1.0, 3.0):
        e = scale * rng.normal(size=5)
        log_posterior = []
        for log_square in u:
            s = np.exp(log_square) * signal + noise
            misfit = e @ np.linalg.solve(s, e) + np.linalg.slogdet(s)[1]
            log_posterior.append(-0.5 * misfit - 0.5 * (log_square / doubt) ** 2)
        seen = innovation(*(jnp.asarray(v) for v in (e, signal, noise)), jnp.ones(5, bool))
        found = 2 * np.log(probable_factor(seen, doubt))
        np.testing.assert_allclose(found, u[np.argmax(log_posterior)], atol=4e-3)
        assert probable_factor(seen, 0.0) == pytest.approx(1, abs=2e-3)


def test_the_spread_is_corrected_over_cycles(key):
    """Forecasts half as wide as they should be, the mean factor is well above 1."""
    noise, signal = jnp.eye(40), 0.25 * jnp.eye(40)
    draw = jax.random.normal(key, (200, 40)) * 2**0.5  # truth: P = I

    def factor(e):
        return probable_factor(innovation(e, signal, noise, jnp.ones(40, bool)), 0.3)

    found = jax.vmap(factor)(draw)
    sound = jax.vmap(factor)(draw * (1.25 / 2) ** 0.5)
    assert 1.05 < found.mean() < 2 and abs(sound.mean() - 1) < 0.02


def test_a_sound_forecast_is_left_alone(key):
    x = jax.random.normal(key, (200, 3))
    np.testing.assert_array_equal(judged(key, x, [1.0, -2.0, 0.5], identity(0.5)), x)


def test_a_lost_one_is_widened_about_its_mean_until_the_measurement_is_credible(key):
    x = 0.1 * jax.random.normal(key, (200, 3))
    y, std = jnp.array([2.0, -2.0, 1.0]), 0.3
    wide = judged(key, x, y, identity(std))
    np.testing.assert_allclose(wide.mean(axis=0), x.mean(axis=0), atol=1e-5)
    e, p = np.asarray(y - x.mean(axis=0)), np.cov(np.asarray(wide).T)
    surprise = e @ np.linalg.solve(p + std**2 * np.eye(3), e)
    np.testing.assert_allclose(surprise, 3 + THRESHOLD * 6**0.5, rtol=2e-2)


def test_what_the_measurement_does_not_tell_of_keeps_its_spread(key):
    """Of three coordinates the first is measured, the second follows it, the third does not."""
    draws = kd.latents.draw(key, 200, 2, jnp.dtype("float32"), "independent-matched")
    x = 0.1 * jnp.stack([draws[:, 0], -2 * draws[:, 0], draws[:, 1]], axis=1)
    wide = judged(key, x, [2.0, jnp.nan, jnp.nan], identity(0.1))
    ratio = wide.std(axis=0) / x.std(axis=0)
    assert ratio[0] > 2
    np.testing.assert_allclose(ratio[1], ratio[0], rtol=1e-4)
    np.testing.assert_allclose(ratio[2], 1, atol=1e-4)


def test_a_minor_mode_near_the_measurement_is_not_lost(key):
    """One member in twenty is where the truth is: the Gaussian witness alone would widen."""
    x = 0.1 * jax.random.normal(key, (200, 1))
    mode = jnp.where(jnp.arange(200)[:, None] % 20 == 0, x + 2.0, x)
    np.testing.assert_array_equal(judged(key, mode, [2.0], identity(0.1)), mode)
    assert judged(key, x, [2.0], identity(0.1)).std() > 2 * x.std()


def test_an_outlier_of_heavy_tailed_noise_is_not_a_lost_forecast(key):
    """Five standard deviations: next to impossible for Gaussian noise, rare for Laplace."""
    x = jax.random.normal(key, (200, 1))
    y, std = [5.0], 1.0
    np.testing.assert_array_equal(judged(key, x, y, identity(std, kd.LaplaceObservation)), x)
    assert judged(key, x, y, identity(std)).std() > 1.2 * x.std()


def test_missing_components_do_not_count(key):
    x = 0.1 * jax.random.normal(key, (200, 3))
    one = judged(key, x, [2.0, jnp.nan, jnp.nan], identity(0.1))
    alone = judged(key, x[:, :1], [2.0], identity(0.1))
    np.testing.assert_allclose(one[:, 0], alone[:, 0], rtol=1e-5, atol=2e-8)


class Uniform(kd.AbstractLikelihood):
    """Noise between -0.1 and 0.1."""

    def sample(self, key, x, t):
        return x + jax.random.uniform(key, x.shape, x.dtype, -0.1, 0.1)

    def log_likelihood(self, y, x, t):
        return jnp.sum(jnp.where(jnp.isnan(y) | (jnp.abs(y - x) < 0.1), 0.0, -jnp.inf))


@pytest.mark.parametrize("y", [2.0, 50.0])
def test_where_no_member_is_possible_it_is_widened(key, y):
    x = 0.1 * jax.random.normal(key, (200, 2))
    wide = judged(key, x, [y, 0.0], Uniform())
    assert np.isfinite(wide).all() and wide[:, 0].std() > 3 * x[:, 0].std()


def judged_locally(key, x, y, near, doubt, std=0.5):
    measurement = split(identity(std), key, x, jnp.zeros(()))
    rules = jnp.asarray(THRESHOLD), jnp.asarray(doubt)
    return adapt(x, ALIVE, jnp.asarray(y), measurement, measurement.covariance, *rules, near)


def test_locally_only_the_coordinates_near_a_surprise_are_lost(key):
    x = jax.random.normal(key, (200, 5))
    near = jnp.eye(5) + 0.5 * jnp.eye(5, k=1) + 0.5 * jnp.eye(5, k=-1)
    wide = judged_locally(key, x, jnp.zeros(5).at[0].set(20.0), near, 0.0)
    assert wide[:, 0].std() > 3 * x[:, 0].std() and wide[:, 1].std() > 2 * x[:, 1].std()
    np.testing.assert_array_equal(wide[:, 2:], x[:, 2:])
    missing = jnp.full(5, jnp.nan).at[1:].set(0.0)
    np.testing.assert_array_equal(judged_locally(key, x, missing, near, 0.0), x)


def test_locally_a_surprise_does_not_move_the_common_factor(key):
    """Sixty components say that the spread is right, twenty that it is far too small."""
    x = jax.random.normal(key, (200, 80))
    y = (1.25**0.5 * jax.random.normal(jax.random.key(5), (80,))).at[60:].set(15.0)
    wide = judged_locally(key, x, y, jnp.eye(80), 0.3)
    common = wide.std(axis=0)[:60] / x.std(axis=0)[:60]
    np.testing.assert_allclose(common, common[0], rtol=1e-5)
    assert 0.85 < common[0] < 1.15
    assert (wide.std(axis=0)[60:] > 3 * x.std(axis=0)[60:]).all()
    # what nothing near is measured of stays as it is
    half = judged_locally(key, x, y, jnp.eye(80).at[0].set(0.0), 0.3)
    np.testing.assert_array_equal(half[:, 0], x[:, 0])


def test_a_sound_spread_is_credible_as_it_is(x64):
    """Innovations at the quantiles of their distribution: leaving the largest out has no effect."""
    z = jnp.asarray(scipy.stats.norm.ppf((np.arange(4000) + 0.5) / 4000))
    for variance in (0.2, 1.0, 5.0):
        seen = componentwise(
            (1 + variance) ** 0.5 * z, jnp.full(4000, variance), jnp.ones(4000), jnp.eye(1, 4000)
        )
        kept = credible(seen, jnp.ones(4000, bool))
        assert 0.985 < jnp.mean(kept.weights) < 0.995
        np.testing.assert_allclose(probable_factor(kept, 10.0), 1, atol=4e-3)


def test_components_that_are_missing_leave_the_bound_of_chi_square_alone(x64):
    """As many components as few members can hold apart, and some missing."""
    rng = np.random.default_rng(3)
    a = rng.normal(size=(3, 6))
    e = jnp.asarray(3 * rng.normal(size=6))
    measured = jnp.arange(6) < 5
    noise, signal = jnp.eye(6), jnp.asarray(a.T @ a)
    both = jnp.outer(measured, measured)
    signal, e = jnp.where(both, signal, 0.0), jnp.where(measured, e, 0.0)
    seen = innovation(e, signal, noise, measured)
    total = jnp.sum(seen.weights * seen.squares / (1 + seen.values))
    wanted = e[:5] @ jnp.linalg.solve(signal[:5, :5] + jnp.eye(5), e[:5])
    np.testing.assert_allclose(total, wanted, rtol=1e-10)
    assert seen.mean == seen.half_variance == 5


def test_a_lost_filter_finds_the_truth_again(key):
    """Members far from the truth and sure of themselves are widened; one gain alone never is."""
    model = kd.LinearGaussian(jnp.eye(2), 1e-6)
    obs = kd.GaussianObservation(kd.observations.identity, 0.5)
    truth, ys = kd.twin_experiment(key, model, obs, jnp.full(2, 10.0), 15)
    members = 0.02 * jax.random.normal(key, (50, 2))
    found = kd.assimilate(key, model, obs, kd.KDEDiffusion(), members, ys).raise_if_failed()
    never = kd.KDEDiffusion(kernel=kd.CovarianceKernel(surprise=jnp.inf, locality=jnp.inf))
    lost = kd.assimilate(key, model, obs, never, members, ys)
    assert kd.metrics.rmse(found.mean, truth)[-1] < 0.5
    assert kd.metrics.rmse(lost.mean, truth)[-1] > 5
