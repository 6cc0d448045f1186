"""Alpha-stable noise: its characteristic function, and the three laws that have a density."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import kdediff_jax as kd

N = 100_000


def draws(key, alpha, beta, dtype="float32"):
    return np.asarray(kd.stable_noise(key, alpha, beta, (N,), jnp.dtype(dtype)), np.float64)


def characteristic(u, alpha, beta):
    """E exp(i u e) of the definition."""
    size = np.abs(u) ** alpha
    if alpha == 1:
        return np.exp(-size * (1 + 2j * beta / np.pi * np.sign(u) * np.log(np.abs(u))))
    return np.exp(-size * (1 - 1j * beta * np.sign(u) * np.tan(np.pi * alpha / 2)))


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        (2.0, 0.0),
        (1.8, 0.0),
        (1.8, -0.7),
        (1.3, 1.0),
        (1.0, 0.0),
        (1.0, 0.6),
        (0.7, -1.0),
        (0.5, 0),
    ],
)
def test_characteristic_function(alpha, beta, key, dtype):
    e = draws(key, alpha, beta, dtype)
    assert np.isfinite(e).all()
    for u in (-1.5, 0.1, 0.4, 1.0, 2.5):
        values = np.exp(1j * u * e)
        expected = characteristic(u, alpha, beta)
        # real and imaginary part are means of N numbers of at most unit size
        for part in (np.real, np.imag):
            error = np.std(part(values)) / N**0.5
            assert abs(part(values.mean()) - part(expected)) < 4.5 * error, (u, part.__name__)


def test_laws_with_a_density(key):
    """alpha = 2 is Gaussian of variance 2; (1, 0) is Cauchy; (1/2, 1) is Lévy."""
    for law, alpha, beta in (
        (stats.norm(scale=2**0.5), 2.0, 0.0),
        (stats.norm(scale=2**0.5), 2.0, 0.8),
        (stats.cauchy(), 1.0, 0.0),
        (stats.levy(), 0.5, 1.0),
    ):
        found = stats.kstest(draws(key, alpha, beta), law.cdf)
        assert found.pvalue > 1e-3, (alpha, beta, found)


def test_sign_and_logarithm_have_zolotarevs_moments(key):
    """P(e > 0), E log|e| and Var log|e| in closed form, which notebook 04 fits its model by."""
    for alpha, beta in ((1.8, -0.6), (1.5, 0.5), (0.8, 0.3)):
        e = draws(key, alpha, beta, "float32")
        angle = np.arctan(beta * np.tan(np.pi * alpha / 2))
        assert abs(np.mean(e > 0) - (0.5 + angle / (np.pi * alpha))) < 4.5 * 0.5 / N**0.5
        log = np.log(np.abs(e))
        mean = np.euler_gamma * (1 / alpha - 1) - np.log(np.cos(angle)) / alpha
        variance = np.pi**2 / 6 * (0.5 + 1 / alpha**2) - angle**2 / alpha**2
        assert abs(log.mean() - mean) < 4.5 * (variance / N) ** 0.5
        error = np.std((log - log.mean()) ** 2) / N**0.5
        assert abs(log.var() - variance) < 4.5 * error


def test_a_sum_of_two_is_a_wider_one(key):
    """Stability: e1 + e2 has the law of 2^(1/alpha) e, for alpha != 1."""
    one, two = (draws(k, 1.6, -0.4) for k in jax.random.split(key))
    third = draws(jax.random.fold_in(key, 7), 1.6, -0.4)
    assert stats.ks_2samp(one + two, 2 ** (1 / 1.6) * third).pvalue > 1e-3


def volatility(x):
    return jnp.exp(x / 2)


def nothing(x):
    return jnp.zeros_like(x)


def test_the_scale_may_depend_on_the_state(key, dtype):
    observation = kd.StableObservation(nothing, volatility, 1.7, -0.3)
    x = jnp.asarray([0.0, 3.0], dtype)
    y = observation.sample(key, x, 0.0)
    noise = kd.stable_noise(key, 1.7, -0.3, (2,), dtype)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, noise * jnp.exp(x / 2), rtol=1e-5)


def test_alpha_is_traced_and_has_a_gradient(key, x64):
    def mean(alpha, beta):
        return jnp.mean(kd.stable_noise(key, alpha, beta, (50,), jnp.float64))

    for at in ((1.5, 0.2), (2.0, 0.0)):
        found = jax.jit(jax.grad(mean, argnums=(0, 1)))(*at)
        assert np.isfinite(found).all()
    step = 1e-6
    numerical = (mean(1.5 + step, 0.2) - mean(1.5 - step, 0.2)) / (2 * step)
    np.testing.assert_allclose(jax.grad(mean)(1.5, 0.2), numerical, rtol=1e-5)


def test_filters_that_only_simulate_run_and_sir_says_why_not(key):
    observation = kd.StableObservation(kd.Identity(), 0.3, 1.5)
    truth, ys = kd.twin_experiment(key, kd.RandomWalk(0.1), observation, jnp.zeros(1), 15)
    ensemble = jax.random.normal(key, (50, 1))
    for scheme in (kd.EnKPF(), kd.KDEDiffusion(), kd.EnKF()):
        result = kd.assimilate(key, kd.RandomWalk(0.1), observation, scheme, ensemble, ys)
        assert result.raise_if_failed().mean.shape == truth.shape
    with pytest.raises(TypeError, match="SIR expected one with `log_likelihood`"):
        kd.assimilate(key, kd.RandomWalk(0.1), observation, kd.SIR(), ensemble, ys)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.StableObservation(kd.Identity(), 0.0), "scale: expected a finite positive"),
        (lambda: kd.StableObservation(kd.Identity(), alpha=2.5), r"alpha: .* in \(0, 2\], got 2.5"),
        (lambda: kd.StableObservation(kd.Identity(), alpha=0.0), r"alpha: .* in \(0, 2\], got 0.0"),
        (lambda: kd.StableObservation(kd.Identity(), beta=-2.0), r"beta: .* in \[-1, 1\]"),
        (lambda: kd.stable_noise(jax.random.key(0), np.nan), "alpha"),
    ],
)
def test_bad_numbers_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_what_is_no_function_is_named():
    with pytest.raises(TypeError, match="operator: expected a callable"):
        kd.StableObservation(3.0)
    observation = kd.StableObservation(kd.Identity(), [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="scale: expected a scalar or shape"):
        observation.sample(jax.random.key(0), jnp.zeros(2), 0.0)
