"""The spread that innovations ask for: much where a forecast is lost, a little in a whole field."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from schemes import quick
from stages import predicted

import kdediff_jax as kd
from kdediff_jax.analysis.enkpf.innovation import (
    componentwise_innovation,
    joint_innovation,
    probable_factor,
    surprise_factor,
    without_surprises,
)
from kdediff_jax.analysis.enkpf.kalman_moves import LocalGain

THRESHOLD = 4.0


@jax.jit
def joint(e, signal, noise):
    """The innovation whose P_hh and R are given: by members that have that covariance."""
    root = jnp.linalg.cholesky(noise)
    rows = jnp.linalg.cholesky(signal + 1e-12 * jnp.trace(signal) * jnp.eye(e.shape[0])).T
    deviations = (rows.shape[0] - 1) ** 0.5 * rows
    return joint_innovation(*(jnp.linalg.solve(root, v.T).T for v in (e, deviations)))


def judged(members, y, observation, rule=None):
    """Members after `SpreadCorrection`."""
    rule = kd.SpreadCorrection(0.0, THRESHOLD) if rule is None else rule
    y = jnp.asarray(y, members.dtype)
    return quick(lambda x, y: rule(predicted(observation, x, y)).members)(members, y)


def unchanged(members, before):
    """Assert that members are as before, but for the rounding of a factor of one."""
    np.testing.assert_allclose(members, before, rtol=1e-5, atol=2e-7)


def identity(std, of=kd.GaussianObservation):
    return of(kd.Identity(), std)


def test_surprise_factor_makes_the_measurement_credible(x64):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(4, 4))
    signal, noise = jnp.asarray(a @ a.T * 0.1), jnp.asarray(np.diag([1.0, 2.0, 0.5, 1.0]))
    e = jnp.array([2.0, -3.0, 2.0, 3.0])
    threshold, bound = 2.0, 4 + 2.0 * 8**0.5

    def surprise(f):
        return float(e @ jnp.linalg.solve(f**2 * signal + noise, e))

    def factor(e):
        return surprise_factor(joint(e, signal, noise), jnp.asarray(4.0), threshold, 10.0)

    assert surprise(1.0) > bound and 1 < factor(e) < 10
    np.testing.assert_allclose(surprise(float(factor(e))), bound, rtol=1e-2)
    assert factor(0.1 * e) == 1
    assert factor(1e3 * e) == pytest.approx(10)


def test_probable_factor_maximises_its_posterior(x64):
    """Against a search of log p(e | f) + log p(f) written out in NumPy."""
    rng = np.random.default_rng(2)
    a = rng.normal(size=(5, 5))
    signal, noise, std = a @ a.T, np.diag([1.0, 2.0, 0.5, 1.0, 3.0]), 0.4
    u = np.linspace(-2, 2, 4001)
    for scale in (0.2, 1.0, 3.0):
        e = scale * rng.normal(size=5)
        log_posterior = []
        for log_square in u:
            s = np.exp(log_square) * signal + noise
            misfit = e @ np.linalg.solve(s, e) + np.linalg.slogdet(s)[1]
            log_posterior.append(-0.5 * misfit - 0.5 * (log_square / std) ** 2)
        seen = joint(*(jnp.asarray(v) for v in (e, signal, noise)))
        found = 2 * np.log(probable_factor(seen, std, 10.0))
        np.testing.assert_allclose(found, u[np.argmax(log_posterior)], atol=4e-3)
        assert probable_factor(seen, 0.0, 10.0) == pytest.approx(1, abs=2e-3)


def test_the_spread_is_corrected_over_cycles(key):
    """Forecasts half as wide as they should be, the mean factor is well above 1."""
    noise, signal = jnp.eye(40), 0.25 * jnp.eye(40)
    draw = jax.random.normal(key, (200, 40)) * 2**0.5  # truth: P = I

    @jax.jit
    def factors(e):
        return jax.vmap(lambda e: probable_factor(joint(e, signal, noise), 0.3, 10.0))(e)

    found, sound = factors(draw), factors(draw * (1.25 / 2) ** 0.5)
    assert 1.05 < found.mean() < 2 and abs(sound.mean() - 1) < 0.02


def test_joint_innovation_knows_correlations_and_leaves_missing_components_out(x64):
    """As many components as few members can hold apart, and one missing (cut off, so 0)."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(3, 6)), rng.normal(size=(6, 6))
    e = 3 * rng.normal(size=6)
    measured = np.arange(6) < 5
    noise = np.where(np.outer(measured, measured), b @ b.T, 0) + np.diag(1.0 - measured)
    root = np.linalg.cholesky(noise)
    rows = np.where(measured, np.concatenate([a - a.mean(axis=0), e[None]]), 0)
    white = jnp.asarray(np.linalg.solve(root, rows.T).T)
    seen = jax.jit(joint_innovation)(white[-1], white[:-1])
    signal = np.cov(a.T)
    assert seen.values.shape == (4,)  # the span of three members and the innovation
    for factor in (0.3, 1.0, 30.0):
        total = jnp.sum(seen.weights * seen.squares / (1 + factor * seen.values))
        expected = e[:5] @ np.linalg.solve((factor * signal + noise)[:5, :5], e[:5])
        np.testing.assert_allclose(total, expected, rtol=1e-9)


def test_a_sound_spread_is_credible_as_it_is(x64):
    """Innovations at the quantiles of their distribution: leaving the largest out has no effect."""
    z = jnp.asarray(scipy.stats.norm.ppf((np.arange(4000) + 0.5) / 4000))
    for variance in (0.2, 1.0, 5.0):
        arrays = (1 + variance) ** 0.5 * z, jnp.full(4000, variance), jnp.ones(4000)
        kept = without_surprises(componentwise_innovation(*arrays), jnp.ones(4000, bool), THRESHOLD)
        assert 0.985 < jnp.mean(kept.weights) < 0.995
        np.testing.assert_allclose(probable_factor(kept, 10.0, 10.0), 1, atol=4e-3)


def test_a_sound_forecast_is_left_alone(key):
    x = jax.random.normal(key, (200, 3))
    unchanged(judged(x, [1.0, -2.0, 0.5], identity(0.5)), x)


def test_a_lost_one_is_widened_about_its_mean_until_the_measurement_is_credible(key):
    x = 0.1 * jax.random.normal(key, (200, 3))
    y, std = jnp.array([2.0, -2.0, 1.0]), 0.3
    wide = judged(x, y, identity(std))
    np.testing.assert_allclose(wide.mean(axis=0), x.mean(axis=0), atol=1e-5)
    e, p = np.asarray(y - x.mean(axis=0)), np.cov(np.asarray(wide).T)
    surprise = e @ np.linalg.solve(p + std**2 * np.eye(3), e)
    np.testing.assert_allclose(surprise, 3 + THRESHOLD * 6**0.5, rtol=2e-2)
    never = kd.SpreadCorrection(0.0, jnp.inf)
    unchanged(judged(x, y, identity(std), never), x)
    least = kd.SpreadCorrection(0.0, THRESHOLD, largest_factor=1.5)
    np.testing.assert_allclose(judged(x, y, identity(std), least).std(), 1.5 * x.std(), rtol=1e-3)


def test_a_doubted_spread_is_scaled_by_the_most_probable_factor(key):
    """In every direction, after what a lost forecast asks for."""
    x, std, doubt = jax.random.normal(key, (200, 3)), 0.5, 0.4
    doubting = kd.SpreadCorrection(doubt, THRESHOLD)
    for y in ([2.0, -2.0, 1.5], [0.1, 0.0, -0.2], [jnp.nan, 0.1, 0.0], [9.0, -9.0, 0.0]):
        before, after = (judged(x, y, identity(std), rule) for rule in (None, doubting))
        measured = ~np.isnan(y)
        e = np.where(measured, np.asarray(y) - np.asarray(before).mean(axis=0), 0)
        signal = np.where(np.outer(measured, measured), np.cov(np.asarray(before).T), 0)
        noise = np.diag(np.where(measured, std**2, 1))
        seen = joint(*(jnp.asarray(v, "float32") for v in (e, signal, noise)))
        factor = probable_factor(seen, doubt, 10.0)
        np.testing.assert_allclose(after.std(axis=0) / before.std(axis=0), factor, rtol=2e-3)
        np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-5)
        assert (factor > 1) == (max(map(abs, y)) > 1)


def test_what_the_measurement_does_not_tell_of_keeps_its_spread(key):
    """Of three coordinates the first is measured, the second follows it, the third does not."""
    draws = kd.latents.draw(key, 200, 2, jnp.dtype("float32"), "independent-matched")
    x = 0.1 * jnp.stack([draws[:, 0], -2 * draws[:, 0], draws[:, 1]], axis=1)
    wide = judged(x, [2.0, jnp.nan, jnp.nan], identity(0.1))
    ratio = wide.std(axis=0) / x.std(axis=0)
    assert ratio[0] > 2
    np.testing.assert_allclose(ratio[1], ratio[0], rtol=1e-4)
    np.testing.assert_allclose(ratio[2], 1, atol=1e-4)


def test_a_minor_mode_near_the_measurement_is_not_lost(key):
    """One member in twenty is where the truth is: the Gaussian witness alone would widen."""
    x = 0.1 * jax.random.normal(key, (200, 1))
    mode = jnp.where(jnp.arange(200)[:, None] % 20 == 0, x + 2.0, x)
    unchanged(judged(mode, [2.0], identity(0.1)), mode)
    assert judged(x, [2.0], identity(0.1)).std() > 2 * x.std()


def test_an_outlier_of_heavy_tailed_noise_is_not_a_lost_forecast(key):
    """Five standard deviations: next to impossible for Gaussian noise, rare for Laplace."""
    x = jax.random.normal(key, (200, 1))
    y, std = [5.0], 1.0
    unchanged(judged(x, y, identity(std, kd.LaplaceObservation)), x)
    assert judged(x, y, identity(std)).std() > 1.2 * x.std()


def test_missing_components_do_not_count(key):
    x = 0.1 * jax.random.normal(key, (200, 3))
    one = judged(x, [2.0, jnp.nan, jnp.nan], identity(0.1))
    alone = judged(x[:, :1], [2.0], identity(0.1))
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
    wide = judged(x, [y, 0.0], Uniform())
    assert np.isfinite(wide).all() and wide[:, 0].std() > 3 * x[:, 0].std()


def test_a_lost_filter_finds_the_truth_again(key):
    """Members far from the truth and sure of themselves are widened; one gain alone never is."""
    model = kd.LinearGaussian(jnp.eye(2), 1e-6)
    truth, ys = kd.twin_experiment(key, model, identity(0.5), jnp.full(2, 10.0), 15)
    members = 0.02 * jax.random.normal(key, (50, 2))

    @quick
    def last_error(threshold):
        correction = kd.SpreadCorrection(0.0, threshold)
        scheme = kd.EnKPF(spread_correction=correction, gain=LocalGain(jnp.inf))
        result = kd.assimilate(key, model, identity(0.5), scheme, members, ys)
        return kd.metrics.rmse(result.mean, truth)[-1], jnp.all(result.info.ok)

    assert last_error(THRESHOLD)[0] < 0.5 and last_error(THRESHOLD)[1]
    assert last_error(jnp.inf)[0] > 5


@quick
def of_field(x, y, reach, std=0.5, log_spread_std=0.3):
    rule = kd.FieldSpreadCorrection(log_spread_std=log_spread_std)
    return rule(predicted(identity(std), x, y), reach).members


def test_a_few_surprises_do_not_move_the_factor_of_a_field(key):
    """Sixty components say that the spread is right, twenty that it is far too small."""
    x = jax.random.normal(key, (200, 80))
    y = (1.25**0.5 * jax.random.normal(jax.random.key(5), (80,))).at[60:].set(15.0)
    wide = of_field(x, y, jnp.ones(80))
    ratio = wide.std(axis=0) / x.std(axis=0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert 0.85 < ratio[0] < 1.15
    # what nothing near is measured of stays as it is
    half = of_field(x, y, jnp.ones(80).at[0].set(0.0))
    unchanged(half[:, 0], x[:, 0])
    np.testing.assert_allclose(of_field(x, y, jnp.ones(80), log_spread_std=0.0), x, atol=1e-2)


def test_a_field_that_is_too_sure_is_widened_about_its_mean(key):
    x = 0.5 * jax.random.normal(key, (200, 80))
    y = 1.25**0.5 * jax.random.normal(jax.random.key(5), (80,))
    wide = of_field(x, y, jnp.ones(80))
    np.testing.assert_allclose(wide.mean(axis=0), x.mean(axis=0), atol=1e-5)
    assert 1.1 < wide.std() / x.std() < 2
    missing = of_field(x, y.at[40:].set(jnp.nan), jnp.ones(80))
    assert np.isfinite(missing).all()
    assert 1 < missing.std() / x.std() < wide.std() / x.std()  # half of the evidence


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.SpreadCorrection(log_spread_std=-1.0), "log_spread_std"),
        (lambda: kd.SpreadCorrection(outlier_threshold=-1.0), "outlier_threshold"),
        (lambda: kd.SpreadCorrection(odds=0.0), "odds"),
        (lambda: kd.SpreadCorrection(largest_factor=0.0), "largest_factor"),
        (lambda: kd.FieldSpreadCorrection(log_spread_std=-1.0), "log_spread_std"),
        (lambda: kd.FieldSpreadCorrection(component_threshold=0.0), "component_threshold"),
    ],
)
def test_bad_options_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
