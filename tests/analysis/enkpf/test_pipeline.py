"""The untuned filter as a whole: Gaussian posteriors, pairs alone, degenerate ensembles."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick
from stages import UNDOUBTED

import kdediff_jax as kd
from kdediff_jax.analysis.enkpf.kalman_moves import LocalGain
from kdediff_jax.kalman import analysis as kalman_analysis
from kdediff_jax.observations import sample_ensemble

MATRIX = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
STD = np.array([0.7, 0.4])
ONE_GAIN = {"gain": LocalGain(jnp.inf), "spread_correction": UNDOUBTED, "inflation": 1.0}


def members(key, n=40, dtype=jnp.float64):
    mix = np.random.default_rng(3).normal(size=(3, 3))
    return (jax.random.normal(key, (n, 3), dtype) @ mix.T.astype(dtype) + 3).astype(dtype)


def observation(dtype=jnp.float64):
    return kd.GaussianObservation(kd.Linear(MATRIX.astype(dtype)), STD.astype(dtype))


def analyse(scheme, key, x, y, observed):
    """Compile anew: a scheme of this module is used once."""
    return quick(lambda x, y: scheme(key, x, y, observed))(x, jnp.asarray(y, x.dtype))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kalman_share": 0.0, **ONE_GAIN},
        {"kalman_share": 1.0, **ONE_GAIN},
        {"kalman_share": 0.0, "kernel_shape": kd.ForecastShape(), **ONE_GAIN},
    ],
    ids=["default", "kernel", "gain", "forecast's shape"],
)
def test_gaussian_posterior_of_a_linear_problem(x64, key, settings):
    x, y = members(key, 2000), jnp.array([5.0, 0.5])
    arrays = x.mean(0), jnp.cov(x.T), y, MATRIX, np.diag(STD**2)
    mean, covariance = kalman_analysis(*map(jnp.asarray, arrays))
    out, info = analyse(kd.EnKPF(**settings), key, x, y, observation())
    assert info.ok
    error = np.sqrt(np.diag(covariance) / (float(info.ess) / 4))
    assert (np.abs(info.mean - mean) < 4 * error).all()
    np.testing.assert_allclose(np.cov(np.asarray(out).T), covariance, atol=0.15 * covariance.max())


def test_pairs_alone_are_enough(key):
    x, observed = members(key, 300, jnp.float32), observation(jnp.float32)
    predicted = sample_ensemble(observed, key, x, jnp.zeros(()))
    y = jnp.array([5.0, 0.5])
    blind, info = quick(lambda x, p: kd.EnKPF().update(key, x, p, y))(x, predicted)
    seeing, _ = analyse(kd.EnKPF(), key, x, y, observed)
    assert info.ok and blind.dtype == x.dtype
    np.testing.assert_allclose(blind.mean(0), seeing.mean(0), atol=0.3)


def test_the_sampler_draws_from_the_mixture(key):
    """The reverse flow and the systematic draws have one law."""
    x, y = members(key, 300, jnp.float32), [4.0, 1.0]
    flow = kd.EnKPF(sampler=kd.ProbabilityFlow(latents="independent"))
    drawn, info = analyse(flow, key, x, y, observation(jnp.float32))
    exact, _ = analyse(kd.EnKPF(), key, x, y, observation(jnp.float32))
    assert info.ok and info.num_steps > 0
    scale = np.std(exact, axis=0)
    np.testing.assert_allclose(drawn.mean(axis=0) / scale, exact.mean(axis=0) / scale, atol=0.3)
    np.testing.assert_allclose(np.std(drawn, axis=0) / scale, 1, atol=0.2)


@pytest.mark.parametrize("case", ["n below d", "constant", "identical", "far y", "two alive"])
def test_degenerate_ensembles_give_finite_members(dtype, key, case):
    """In one compiled program but for the first."""
    n, d = (6, 12) if case == "n below d" else (20, 3)
    x, y = jax.random.normal(key, (n, d), dtype), jnp.full(d, 0.5, dtype)
    x = {
        "constant": x.at[:, 1].set(2),
        "identical": jnp.broadcast_to(x[:1], x.shape),
        "two alive": x.at[2:].set(jnp.nan),
    }.get(case, x)
    y = jnp.full(d, 1e6, dtype) if case == "far y" else y
    out, info = untuned(x, y)
    assert np.isfinite(out).all() and out.dtype == dtype
    assert info.ok == (case != "two alive")  # of twenty: an analysis, though not to be trusted


@quick
def untuned(x, y):
    return kd.EnKPF()(jax.random.key(0), x, y, kd.GaussianObservation(kd.Identity(), 0.3))


class HalfExact(kd.AbstractObservation):
    """The first component is measured without noise; only `sample` is known."""

    def sample(self, key, x, t):
        return x[:2] + jnp.array([0.0, 0.5]) * jax.random.normal(key, (2,))


def test_noise_of_zero_variance_in_one_component(key):
    x = jax.random.normal(key, (50, 3))
    out, info = analyse(kd.EnKPF(), key, x, [0.1, 0.2], HalfExact())
    assert info.ok and np.isfinite(out).all()
    assert np.abs(out[:, 0] - 0.1).max() < 0.05


class BadNoise(kd.GaussianObservation):
    def covariance(self, m, dtype, t):
        return jnp.array([[1.0, 2.0], [2.0, 1.0]], dtype)


def test_noise_that_is_not_positive_definite_is_a_flag(key):
    x = jax.random.normal(key, (50, 2))
    _, info = analyse(kd.EnKPF(), key, x, jnp.zeros(2), BadNoise(kd.Identity(), 0.3))
    assert not info.ok


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.EnKPF(noise="knwon"), "did you mean 'known'"),
        (lambda: kd.EnKPF(inflation=0.0), "inflation"),
        (lambda: kd.SamplingInflation(-1.0), "factor"),
    ],
)
def test_bad_options_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
