"""Covariance inflation: by a number, and by what sampling theory says."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.ensemble.gains import degrees_of_freedom
from kdediff_jax.ensemble.inflation import as_inflation, inflate

RING = kd.Localisation(np.arange(4.0), np.arange(4.0), 1.0, 4.0)


def test_sampling_inflation_is_what_sampling_theory_says(x64):
    """The mean analysis error of a sampled gain over what the ensemble claims, in a scalar game."""
    n, m, draws = 30, 8, 4000
    rng = np.random.default_rng(0)
    # a coordinate that has nothing to do with m measured ones, all of unit variance
    error, claimed = [], []
    for _ in range(draws):
        x = rng.normal(size=(n, m + 1))
        p = np.cov(x.T)
        k = np.linalg.solve(p[1:, 1:] + np.eye(m), p[1:, 0])
        error.append(1 + k @ (2 * np.eye(m)) @ k)  # truth - k (H e + noise)
        claimed.append(p[0, 0] - p[0, 1:] @ k)
    freedom = degrees_of_freedom((m - 1) ** 0.5 * jnp.eye(m))  # rows of covariance 1
    assert freedom == pytest.approx(m / 2)
    rule = float(kd.SamplingInflation()(freedom, n)) ** 2
    assert abs(np.mean(error) / np.mean(claimed) / rule - 1) < 0.05


def test_the_noise_of_weights_counts_where_it_is_asked_for(dtype):
    freedom, excess = jnp.asarray([0.0, 2.0], dtype), jnp.asarray([0.1, -0.1], dtype)
    found = kd.FieldSamplingInflation(1.5, 8.0)(freedom, 11, excess)
    np.testing.assert_allclose(found, np.sqrt([1.8, 1.3]), rtol=1e-6)
    assert found.dtype == dtype
    np.testing.assert_allclose(kd.SamplingInflation(1.5)(freedom, 11, excess), np.sqrt([1, 1.3]))


def test_a_number_is_a_constant_factor(dtype):
    rule = as_inflation(1.3)
    assert as_inflation(rule) is rule
    factor = rule(jnp.zeros(3, dtype), 10)
    np.testing.assert_allclose(factor, np.full(3, 1.3), rtol=1e-6)
    assert factor.dtype == dtype


def test_inflate_keeps_the_mean(x64):
    x = np.random.default_rng(1).normal(size=(20, 2)) + 5
    wide = inflate(jnp.asarray(x), jnp.asarray([[1.0, 3.0]]))
    np.testing.assert_allclose(wide.mean(axis=0), x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(wide.std(axis=0), x.std(axis=0) * [1, 3], rtol=1e-12)


def ensembles(dtype):
    """Return a forecast and an analysis, narrower in one coordinate, constant in another."""
    forecast = np.random.default_rng(2).normal(size=(30, 3))
    analysis = 0.3 * forecast[::-1] + [1.0, 2.0, 3.0]
    analysis[:, 1], analysis[:, 2] = forecast[:, 1] + 2, 3.0
    return jnp.asarray(forecast, dtype), jnp.asarray(analysis, dtype)


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_relaxation_restores_part_of_the_spread_that_was_lost(dtype, strength):
    forecast, analysis = ensembles(dtype)
    before, after = np.std(forecast, axis=0), np.std(analysis, axis=0)
    wide = kd.RelaxationToPriorSpread(strength).relax(forecast, analysis)
    expected = np.where(after > 1e-6, (1 - strength) * after + strength * before, 0)
    np.testing.assert_allclose(np.std(wide, axis=0), expected, rtol=1e-4, atol=1e-5)
    mixed = kd.RelaxationToPriorPerturbations(strength).relax(forecast, analysis)
    arrays = (np.asarray(x) for x in (forecast, analysis, mixed))
    anomalies = [x - x.mean(axis=0) for x in arrays]
    wanted = strength * anomalies[0] + (1 - strength) * anomalies[1]
    np.testing.assert_allclose(anomalies[2], wanted, atol=1e-5)
    for found in (wide, mixed):
        assert found.dtype == dtype
        np.testing.assert_allclose(np.mean(found, axis=0), np.mean(analysis, axis=0), atol=1e-5)


@pytest.mark.parametrize("rule", [kd.RelaxationToPriorSpread, kd.RelaxationToPriorPerturbations])
@pytest.mark.parametrize("make", [kd.EnKF, kd.ETKF, lambda **k: kd.LETKF(RING, **k)])
def test_every_gaussian_filter_takes_a_relaxation(x64, key, make, rule):
    x = jax.random.normal(key, (12, 4))
    observation, y = kd.GaussianObservation(kd.Identity(), 0.5), jnp.ones(4)
    (plain, _), (relaxed, info) = (
        make(inflation=inflation)(key, x, y, observation) for inflation in (1.0, rule(0.6))
    )
    assert info.ok
    np.testing.assert_allclose(relaxed, rule(0.6).relax(x, plain), atol=1e-9)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.RelaxationToPriorSpread(1.5), "strength: expected a number from 0 to 1"),
        (lambda: kd.RelaxationToPriorPerturbations(-0.1), "strength"),
        (lambda: kd.SamplingInflation(-1.0), "factor"),
        (lambda: kd.FieldSamplingInflation(factor=-1.0), "factor"),
        (lambda: kd.FieldSamplingInflation(weights=-1.0), "weights"),
        (lambda: kd.ConstantInflation(0.0), "inflation"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
