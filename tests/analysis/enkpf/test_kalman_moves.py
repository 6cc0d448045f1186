"""Members after the Kalman share of the likelihood: gains of all, gains of a neighbourhood."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick
from stages import UNDOUBTED, posteriors_of, predicted

import kdediff_jax as kd
from kdediff_jax.analysis.enkpf.kalman_moves import LocalGain, kalman_moves, surrogate
from kdediff_jax.ensemble.covariance import neighbourhoods, whole_ensemble
from kdediff_jax.numerics import centred
from kdediff_jax.observations.gaussian_surrogate import GaussianSurrogate

MATRIX = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
STD = np.array([0.7, 0.4])
Y = np.array([4.0, 1.0])
ALL = LocalGain(width=jnp.inf)


def members(key, n=40):
    mix = np.random.default_rng(3).normal(size=(3, 3))
    return jax.random.normal(key, (n, 3), jnp.float64) @ mix.T + 3


def moved(x, shares, gain, y=Y, seed=0):
    """Members after each share, of a linear Gaussian measurement."""

    @quick
    def call(x, y, shares):
        forecast = predicted(kd.GaussianObservation(kd.Linear(MATRIX), STD), x, y)
        measurement = surrogate(forecast, GaussianSurrogate())
        return kalman_moves(jax.random.key(seed), forecast, measurement, shares, gain)

    return np.asarray(call(x, jnp.asarray(y), jnp.asarray(shares)))


def test_the_mean_moves_by_the_gain_of_the_noise_over_the_share(x64, key):
    """The perturbations are centred: exactly."""
    x = members(key)
    shares = [0.0, 0.3, 1.0]
    found = moved(x, shares, ALL)
    np.testing.assert_array_equal(found[0], x)
    p, mean = np.cov(np.asarray(x).T), np.asarray(x).mean(axis=0)
    for share, after in zip(shares[1:], found[1:], strict=True):
        s = MATRIX @ p @ MATRIX.T + np.diag(STD**2) / share
        gain = p @ MATRIX.T @ np.linalg.inv(s)
        expected = mean + gain @ (Y - MATRIX @ mean)
        np.testing.assert_allclose(after.mean(axis=0), expected, rtol=1e-9)


def test_full_kalman_share_is_the_enkf(x64, key):
    """h = 0: components are the moved members, all of one weight."""
    x = members(key)
    scheme = kd.EnKPF(kalman_share=1.0, kernel_width=1e-6, gain=ALL, spread_correction=UNDOUBTED)
    scheme = dataclasses.replace(scheme, kernel_shape=kd.ForecastShape())

    @quick
    def mixture(x):
        forecast = predicted(kd.GaussianObservation(kd.Linear(MATRIX), STD), x, Y)
        return posteriors_of(scheme, forecast)[1]

    out = mixture(x)
    np.testing.assert_allclose(out.log_weights, -np.log(40), rtol=1e-9)
    np.testing.assert_allclose(out.means, moved(x, [1.0], ALL)[0], atol=1e-5)


def test_a_missing_component_moves_nothing(x64, key):
    """Whatever is predicted of it; and nothing measured is no move at all."""
    x = members(key)
    none = moved(x, [1.0], ALL, np.full(2, np.nan))
    np.testing.assert_array_equal(none[0], x)
    half = moved(x, [1.0], ALL, np.array([4.0, np.nan]))[0]
    p, mean = np.cov(np.asarray(x).T), np.asarray(x).mean(axis=0)
    h = MATRIX[:1]
    gain = p @ h.T / (h @ p @ h.T + STD[0] ** 2)
    expected = mean + gain[:, 0] * (4.0 - h @ mean)
    np.testing.assert_allclose(half.mean(axis=0), expected, rtol=1e-9)


def test_infinite_width_is_one_gain(x64, key):
    """And a very wide neighbourhood nearly so; in many dimensions there are none."""
    x = members(key)
    one = moved(x, [1.0], ALL)
    np.testing.assert_allclose(moved(x, [1.0], LocalGain(1e3)), one, rtol=0.05, atol=0.05)
    np.testing.assert_allclose(moved(x, [1.0], LocalGain(0.3, dimensions=2)), one, rtol=1e-9)
    assert np.abs(moved(x, [1.0], LocalGain(1.0)) - one).max() > 0.01


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
def test_neighbourhoods_of_a_gaussian_are_the_whole_ensemble(x64, key, width):
    z = kd.latents.match_moments(jax.random.normal(key, (3000, 2), jnp.float64))
    root = jnp.array([[2.0, 0.0], [0.5, 1.0]])
    predicted = z @ root.T @ jnp.array([[1.0], [0.3]])
    near = quick(neighbourhoods)(z, root, predicted, jnp.asarray(width))
    whole = whole_ensemble(z @ root.T, predicted)
    core = np.linalg.norm(z, axis=1) < 1
    assert abs(np.median(near.signal[core, 0, 0]) / whole.signal[0, 0, 0] - 1) < 0.1
    np.testing.assert_allclose(
        np.median(near.cross[core], axis=0), whole.cross[0], atol=0.1 * np.abs(whole.cross).max()
    )


def test_two_modes_get_a_gain_each(key):
    """|x| measured from two modes: the slope is -1 in the one and +1 in the other."""
    signs = jnp.where(jnp.arange(200) < 100, -1.0, 1.0)
    x = (2 * signs + 0.2 * jax.random.normal(key, (200,)))[:, None]
    near = quick(lambda x, h: LocalGain(0.3)(x, h).near)(centred(x), centred(jnp.abs(x)))
    assert np.allclose(np.sign(near.cross[:, 0, 0]), signs)
    np.testing.assert_allclose(np.median(near.signal), 0.04, rtol=0.5)


def test_a_gaussian_measurement_is_its_own_surrogate(x64, key):
    forecast = predicted(kd.GaussianObservation(kd.Linear(MATRIX), STD), members(key), Y)
    found = surrogate(forecast, GaussianSurrogate())
    np.testing.assert_array_equal(found.y, Y)
    np.testing.assert_array_equal(found.noise, STD**2)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_bad_width_is_named(width):
    with pytest.raises(ValueError, match="width: expected a positive number"):
        LocalGain(width)
