"""EnKF, ETKF and LETKF: Kalman oracles, limits, published scores, bad input."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.analysis.enkpf.spread_correction import FieldSpreadCorrection
from kdediff_jax.ensemble.inflation import inflate
from kdediff_jax.kalman import analysis as kalman_analysis
from kdediff_jax.observations import sample_ensemble

MATRIX = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
STD = np.array([0.7, 0.4])
Y = np.array([1.0, -0.5])
KEY = 3


def members(n=15):
    """Return n members with correlated coordinates, as NumPy."""
    root = np.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-0.3, 0.2, 0.7]])
    return np.random.default_rng(7).normal(size=(n, 3)) @ root.T + 1.0


def observation(matrix=MATRIX, std=STD):
    return kd.GaussianObservation(kd.Linear(matrix), std)


def analyse(scheme, x, y=Y, observed=None, key=KEY):
    """Compile anew: a scheme of this module is used once or twice."""
    observed = observation() if observed is None else observed
    call = quick(lambda x, y: scheme(jax.random.key(key), x, y, observed))
    analysis, info = call(jnp.asarray(x), jnp.asarray(y))
    assert info.ok
    return np.asarray(analysis), info


def test_enkf_moves_the_mean_by_its_gain(x64):
    """The perturbations are centred: exactly."""
    x = members()
    analysis, info = analyse(kd.EnKF(), x)
    p, mean = np.cov(x.T), x.mean(axis=0)
    gain = p @ MATRIX.T @ np.linalg.inv(MATRIX @ p @ MATRIX.T + np.diag(STD**2))
    expected = mean + gain @ (Y - MATRIX @ mean)
    np.testing.assert_allclose(analysis.mean(axis=0), expected, rtol=1e-12)
    np.testing.assert_allclose(info.mean, expected, rtol=1e-12)
    assert info.ess == 15


def test_enkf_of_pairs_moves_the_mean_by_the_gain_of_the_regression(x64):
    """With one ridge of a member's weight, the gain is that of h and R by regression."""
    x = members()
    predict_key, _ = jax.random.split(jax.random.key(KEY))
    pairs = np.asarray(sample_ensemble(observation(), predict_key, jnp.asarray(x), 0.0))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    ridge = z.T @ z + np.eye(3)
    slope = np.linalg.solve(ridge, z.T @ (pairs - pairs.mean(axis=0)))
    predicted = z @ slope
    residual = pairs - pairs.mean(axis=0) - predicted
    r = residual.T @ residual / (14 - np.trace(np.linalg.solve(ridge, z.T @ z)))
    gain = (x - x.mean(axis=0)).T @ predicted / 14
    gain = gain @ np.linalg.inv(predicted.T @ predicted / 14 + r)
    expected = x.mean(axis=0) + gain @ (Y - pairs.mean(axis=0))
    analysis, _ = analyse(kd.EnKF(noise="pairs"), x)
    np.testing.assert_allclose(analysis.mean(axis=0), expected, rtol=1e-10)


@pytest.mark.parametrize("noise", ["sampled", "pairs"])
def test_enkf_that_simulates_tends_to_the_one_that_knows(x64, noise):
    n = 4000
    known, simulated = (analyse(kd.EnKF(noise=rule), members(n))[0] for rule in ("known", noise))
    # both have Kalman's moments up to O(1/sqrt(N)), with variances of about 0.3 here
    assert np.abs(known.mean(axis=0) - simulated.mean(axis=0)).max() < 5 * np.sqrt(2 * 0.3 / n)
    assert np.abs(np.cov(known.T) - np.cov(simulated.T)).max() < 5 * 0.3 * np.sqrt(4 / n)


class BlackBox(kd.AbstractObservation):
    def sample(self, key, x, t):
        return observation().sample(key, x, t)


def test_auto_uses_the_known_noise_where_there_is_one():
    def program(noise, observed):
        def call(x, alive, y):
            key = jax.random.key(0)
            return kd.EnKF(noise=noise).analyse(key, x, alive, y, observed, jnp.zeros(())).ensemble

        return str(jax.make_jaxpr(call)(members().astype("float32"), np.ones(15, bool), Y))

    known, sampled = (program(noise, observation()) for noise in ("known", "sampled"))
    assert known != sampled
    assert program("auto", observation()) == known
    assert program("auto", BlackBox()) == program("sampled", BlackBox()) == sampled


def test_enkf_with_fewer_members_than_components_stays_in_their_span(x64):
    x = members(4)
    observed = observation(np.eye(3)[[0, 1, 2, 0, 1, 2]], 0.5)
    for noise in ("known", "sampled"):
        analysis, _ = analyse(kd.EnKF(noise=noise), x, np.zeros(6), observed)
        span, move = (x - x.mean(axis=0)).T, (analysis - x).T
        np.testing.assert_allclose(span @ np.linalg.pinv(span) @ move, move, atol=1e-9)


def test_inflation_scales_the_anomalies_only(x64):
    x = jnp.asarray(members(20))

    @quick
    def call(factor):
        return kd.EnKF(inflation=factor)(jax.random.key(KEY), x, Y, observation())[0]

    plain, inflated = call(1.0), call(1.3)
    np.testing.assert_allclose(inflated, inflate(plain, 1.3), rtol=1e-12)
    np.testing.assert_allclose(inflated.mean(axis=0), plain.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(np.cov(inflated.T), 1.69 * np.cov(plain.T), rtol=1e-10)


@pytest.mark.parametrize("n", [3, 12])
def test_moments_of_the_etkf_are_kalmans_for_the_sample_covariance(x64, n):
    """With more members than components, and no more."""
    x = members(n)
    observed = observation(np.vstack([MATRIX, MATRIX[:1]]), np.array([0.7, 0.4, 1.0]))
    y, matrix = np.array([1.0, -0.5, 0.8]), np.asarray(observed.operator.matrix)
    analysis, _ = analyse(kd.ETKF(inflation=1.0), x, y, observed)
    noise = np.diag(np.asarray(observed.std) ** 2)
    arrays = x.mean(axis=0), np.cov(x.T), y, matrix, noise
    mean, covariance = kalman_analysis(*map(jnp.asarray, arrays))
    np.testing.assert_allclose(analysis.mean(axis=0), mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.cov(analysis.T), covariance, rtol=1e-9, atol=1e-12)


def test_etkf_rotations_keep_mean_and_covariance(x64):
    still, _ = analyse(kd.ETKF(), members())
    turned, _ = analyse(kd.ETKF(rotation_angle=1.0), members())
    assert np.abs(turned - still).max() > 0.1
    np.testing.assert_allclose(turned.mean(axis=0), still.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(np.cov(turned.T), np.cov(still.T), atol=1e-12)


def test_correlated_noise_counts_with_its_correlations(x64):
    """Every scheme with a gain sees all of R, with a localisation too."""
    x, noise = members(), np.array([[0.5, 0.3], [0.3, 0.4]])
    observed = Correlated(kd.Linear(MATRIX), 1.0, jnp.asarray(noise))
    arrays = x.mean(axis=0), np.cov(x.T), Y, MATRIX, noise
    mean, covariance = kalman_analysis(*map(jnp.asarray, arrays))
    never = FieldSpreadCorrection(log_spread_std=0.0)
    plain = {"rotation_angle": 0.0, "inflation": 1.0, "shrinkage": 0.0}
    global_lenkpf = kd.LEnKPF(EVERYWHERE, kalman_share=1.0, spread_correction=never, **plain)
    transforms = kd.ETKF(inflation=1.0), kd.LETKF(EVERYWHERE, inflation=1.0), global_lenkpf
    for scheme in (*transforms, kd.EnKF()):
        analysis, _ = analyse(scheme, x, Y, observed)
        np.testing.assert_allclose(analysis.mean(axis=0), mean, rtol=1e-9)
    for scheme in transforms:
        analysis, _ = analyse(scheme, x, Y, observed)
        # the flow of LEnKPF, the identity here, is bracketed
        np.testing.assert_allclose(np.cov(analysis.T), covariance, rtol=1e-6)


@pytest.mark.parametrize("scheme", [kd.LETKF, kd.LEnKPF])
def test_a_stated_diagonal_matrix_is_independent_noise(scheme, x64):
    """With a missing component and a localisation that cuts."""
    x, y = members(), np.array([Y[0], np.nan])
    where = dataclasses.replace(EVERYWHERE, radius=0.8)
    stated = Correlated(kd.Linear(MATRIX), 1.0, jnp.diag(jnp.array([0.5, 0.4])))
    plain = kd.GaussianObservation(kd.Linear(MATRIX), jnp.sqrt(jnp.array([0.5, 0.4])))
    for measured in (Y, y):
        found, expected = (analyse(scheme(where), x, measured, o)[0] for o in (stated, plain))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


class Correlated(kd.GaussianObservation):
    matrix: jax.Array = None

    def covariance(self, m, dtype, t):
        return self.matrix


EVERYWHERE = kd.Localisation([0.0, 1.0, 2.0], [0.5, 1.5], 1e9)


@pytest.mark.parametrize("inflation", [1.0, kd.SamplingInflation()], ids=["none", "sampling"])
def test_infinite_radius_is_the_global_filter(x64, inflation):
    local, _ = analyse(kd.LETKF(EVERYWHERE, inflation=inflation), members())
    whole, _ = analyse(kd.ETKF(inflation=inflation), members())
    np.testing.assert_allclose(local, whole, rtol=1e-9, atol=1e-11)


def test_a_localised_coordinate_is_the_global_filter_of_tapered_noise(x64):
    """Each column by itself, with R / taper: Hunt, Kostelich and Szunyogh 2007."""
    where = dataclasses.replace(EVERYWHERE, radius=0.8)
    x, taper = members(), np.asarray(where.taper(3, 2, jnp.float64))
    local, _ = analyse(kd.LETKF(where, inflation=1.0), x)
    for j in range(3):
        observed = observation(std=STD / np.sqrt(taper[j]))
        whole, _ = analyse(kd.ETKF(inflation=1.0), x, Y, observed)
        np.testing.assert_allclose(local[:, j], whole[:, j], rtol=1e-9, atol=1e-11)


def test_coordinates_far_from_every_measurement_stay():
    x = np.random.default_rng(1).normal(size=(10, 6)).astype("float32")
    ring = kd.Localisation(np.arange(6.0), [0.0], 0.5, period=6.0)
    observed = kd.GaussianObservation(kd.Select((0,)), 0.5)
    out, _ = analyse(kd.LETKF(ring, rotation_angle=1.0), x, np.array([2.0], "float32"), observed)
    # the taper of radius 0.5 ends at 1.83
    np.testing.assert_allclose(out[:, 2:5], x[:, 2:5], atol=1e-5)
    assert np.abs(out[:, [0, 1, 5]] - x[:, [0, 1, 5]]).max() > 0.01


@pytest.mark.parametrize("localised", [False, True])
def test_a_missing_component_is_as_if_never_measured(x64, localised):
    half_at, first_at = EVERYWHERE, kd.Localisation([0.0, 1.0, 2.0], [0.5], 1e9)
    schemes = (kd.LETKF(at) if localised else kd.ETKF() for at in (half_at, first_at))
    half, _ = analyse(next(schemes), members(), np.array([1.0, np.nan]))
    alone, _ = analyse(next(schemes), members(), Y[:1], observation(MATRIX[:1], STD[:1]))
    np.testing.assert_allclose(half, alone, rtol=1e-9, atol=1e-11)


def test_a_missing_component_is_one_of_infinite_noise(x64):
    """The EnKF draws its perturbations for all components at once: dropping one changes them."""
    x = jnp.asarray(members())

    @quick
    def call(y, std):
        return kd.EnKF()(jax.random.key(KEY), x, jnp.stack([0.8, y]), observation(std=std))[0]

    missing = call(jnp.asarray(np.nan), jnp.asarray(STD))
    # gain O(1e-12) times an innovation O(1e6)
    noisy = call(jnp.asarray(3.0), jnp.asarray([STD[0], 1e6]))
    np.testing.assert_allclose(missing, noisy, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_thousand_coordinates(large_lorenz96):
    sites = np.arange(1000.0)
    scheme = kd.LETKF(kd.Localisation(sites, sites, 4.0, period=1000.0))
    assert float(large_lorenz96(20)(scheme)[10:].mean()) < 0.4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "members", "inflation", "value", "tolerance"),
    [("sakov2008", 7, 1.04, 0.22, 0.02), ("spantini2019", 40, 1.10, 1.0, 0.06)],
)
def test_published_letkf(rmse_of_three_runs, name, members, inflation, value, tolerance):
    experiment = experiments.load(name)
    scheme = experiment.filter("letkf", members, inflation=inflation)
    rmse = rmse_of_three_runs(experiment, members, scheme)
    assert abs(np.median(rmse) - value) < tolerance


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kd.EnKF(inflation=0.0), ValueError, "inflation"),
        (lambda: kd.ETKF(inflation=-1.0), ValueError, "inflation"),
        (lambda: kd.ETKF(rotation_angle=-1.0), ValueError, "rotation_angle"),
        (lambda: kd.LETKF(EVERYWHERE, rotation_angle=-1.0), ValueError, "rotation_angle"),
        (lambda: kd.LETKF(4.0), TypeError, "localisation: expected a Localisation"),
        (lambda: kd.ETKF(noise="none"), ValueError, "noise"),
        (lambda: kd.EnKF(noise="know"), ValueError, "did you mean 'known'"),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
