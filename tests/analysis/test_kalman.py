"""ETKF and its localised form, the LETKF: Kalman oracles, limits, published scores, bad input."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.analysis.localisation import gaspari_cohn
from kdediff_jax.kalman import analysis as kalman_analysis

MATRIX = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
STD = np.array([0.7, 0.4])


@eqx.filter_jit
def analyse(scheme, *args):
    return scheme(*args)


def observation(dtype=jnp.float64):
    return kd.GaussianObservation(kd.Linear(MATRIX.astype(dtype)), STD.astype(dtype))


def test_moments_are_kalmans_for_the_sample_covariance(x64, key):
    x = jax.random.normal(key, (12, 3), jnp.float64) @ jnp.asarray(
        [[1, 0.4, 0], [0, 1, 0.3], [0, 0, 2.0]]
    )
    y = jnp.array([1.0, -0.5])
    out, info = analyse(kd.ETKF(inflation=1.0), key, x, y, observation())
    mean, covariance = kalman_analysis(
        x.mean(0), jnp.cov(x.T), y, jnp.asarray(MATRIX), jnp.diag(jnp.asarray(STD) ** 2)
    )
    assert info.ok
    np.testing.assert_allclose(out.mean(0), mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(jnp.cov(out.T), covariance, rtol=1e-9, atol=1e-12)


def test_infinite_radius_is_the_global_filter(x64, key):
    x = jax.random.normal(key, (9, 3), jnp.float64)
    y = jnp.array([1.0, -0.5])
    everywhere = kd.Localisation([0.0, 1.0, 2.0], [0.5, 1.5], 1e9)
    for inflation in (1.0, kd.SamplingInflation()):
        wide = kd.ETKF(inflation=inflation, localisation=everywhere)
        one = dataclasses.replace(wide, localisation=None)
        local, _ = analyse(wide, key, x, y, observation())
        whole, _ = analyse(one, key, x, y, observation())
        np.testing.assert_allclose(local, whole, rtol=1e-9, atol=1e-11)


def test_coordinates_far_from_every_measurement_stay(key):
    x = jax.random.normal(key, (10, 6))
    ring = kd.Localisation(np.arange(6.0), [0.0], 0.5, period=6.0)
    out, _ = analyse(
        kd.ETKF(localisation=ring), key, x, jnp.array([2.0]),
        kd.GaussianObservation(kd.Select((0,)), 0.5),
    )  # fmt: skip
    # the taper of radius 0.5 ends at 1.83
    np.testing.assert_allclose(out[:, 2:5], x[:, 2:5], atol=1e-5)
    assert np.abs(out[:, [0, 1, 5]] - x[:, [0, 1, 5]]).max() > 0.01


def test_missing_components_say_nothing(x64, key):
    x = jax.random.normal(key, (9, 3), jnp.float64)
    half, _ = analyse(kd.ETKF(), key, x, jnp.array([1.0, jnp.nan]), observation())
    first = kd.GaussianObservation(kd.Linear(MATRIX[:1]), STD[:1])
    alone, _ = analyse(kd.ETKF(), key, x, jnp.array([1.0]), first)
    np.testing.assert_allclose(half, alone, rtol=1e-9, atol=1e-11)
    same, _ = analyse(kd.ETKF(), key, x, jnp.full(2, jnp.nan), observation())
    np.testing.assert_array_equal(same, x)


def test_order_of_members_does_not_matter(x64, key):
    x = jax.random.normal(key, (9, 3), jnp.float64)
    y, order = jnp.array([1.0, -0.5]), np.random.default_rng(0).permutation(9)
    out, _ = analyse(kd.ETKF(), key, x, y, observation())
    moved, _ = analyse(kd.ETKF(), key, x[order], y, observation())
    np.testing.assert_allclose(moved, out[order], rtol=1e-8, atol=1e-10)


def test_gaspari_cohn_is_a_smooth_taper(x64):
    r = jnp.linspace(0.0, 3.0, 3001)
    taper = gaspari_cohn(r)
    assert float(taper[0]) == 1 and np.all(np.diff(taper) <= 1e-15)
    assert np.all(np.asarray(taper[r >= 2]) == 0)
    # twice differentiable at the seam, and half-width sqrt(0.3) of the Gaussian that it follows
    slope = jnp.gradient(taper, r[1])
    assert np.abs(np.diff(slope)).max() < 3.4e-3  # the second derivative is at most 10/3
    np.testing.assert_allclose(taper, np.exp(-0.5 * r**2 * 10 / 3), atol=0.06)


def test_taper_knows_a_ring(key):
    sites = np.arange(8.0)
    taper = kd.Localisation(sites, sites[::2], 1.0, period=8.0).taper(8, 4, jnp.float32)
    np.testing.assert_allclose(taper[7, 0], taper[1, 0])
    np.testing.assert_allclose(taper[0, 0], 1)
    plane = np.stack([sites, sites], axis=1)
    far = kd.Localisation(plane, plane[:1], 1.0).taper(8, 1, jnp.float32)
    np.testing.assert_allclose(far[1, 0], gaspari_cohn(jnp.asarray(0.6**0.5)), rtol=1e-5)


def test_thousand_coordinates(large_lorenz96):
    sites = np.arange(1000.0)
    scheme = kd.ETKF(localisation=kd.Localisation(sites, sites, 4.0, period=1000.0))
    assert float(large_lorenz96(20)(scheme)[10:].mean()) < 0.4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "members", "inflation", "value", "tolerance"),
    [("sakov2008", 7, 1.04, 0.22, 0.02), ("spantini2019", 40, 1.10, 1.0, 0.06)],
)
def test_published_letkf(rmse_of_three_runs, name, members, inflation, value, tolerance):
    experiment = experiments.load(name)
    scheme = experiment.filter("etkf", members, inflation=inflation)
    rmse = rmse_of_three_runs(experiment, members, scheme)
    assert abs(np.median(rmse) - value) < tolerance


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kd.ETKF(inflation=-1.0), ValueError, "inflation"),
        (lambda: kd.ETKF(localisation=4.0), TypeError, "localisation: expected a Localisation"),
        (lambda: kd.ETKF(noise="none"), ValueError, "noise"),
        (lambda: kd.Localisation([0.0], [0.0], 0.0), ValueError, "radius"),
        (lambda: kd.Localisation([0.0], [[0.0, 1.0]], 1.0), ValueError, "positions"),
        (lambda: kd.Localisation([0.0], [0.0], 1.0, period=-1.0), ValueError, "period"),
        (
            lambda: kd.Localisation([0.0], [0.0], 1.0).taper(2, 1, jnp.float32),
            ValueError,
            "expected positions of 2 coordinates",
        ),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
