"""The rule that splits the likelihood between a Kalman gain and weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.analysis import bridge as bridges
from kdediff_jax.analysis.noise import split
from kdediff_jax.analysis.shares import choose, features

ALL = jnp.ones(4, bool)
NOISE = jnp.array([0.4, 0.2, 0.1, 0.0])


@pytest.mark.parametrize(
    ("estimates", "allowed", "evidence", "place"),
    [
        ([0.0, 0.1, 0.0, 0.1], ALL, 1.0, 3),  # within the noise: the Kalman update
        ([0.0, 0.1, 0.2, 5.0], ALL, 1.0, 2),  # contradicted by all others
        ([9.0, 0.0, 0.0, 0.0], ALL, 1.0, 0),  # the noisiest says so clearly
        ([9.0, 0.0, 0.0, 0.0], ALL.at[0].set(False), 1.0, 3),  # too noisy to be asked
        ([9.0, 4.0, 0.0, 9.0], jnp.zeros(4, bool), 1.0, 3),  # the last is always allowed
        ([0.0, 0.1, 0.2, 5.0], ALL, 1e4, 3),
        ([0.0, 0.1, 0.2, 0.3], ALL, 0.0, 0),
        ([0.0, 0.1, 0.2, 0.3], ALL.at[0].set(False), 0.0, 1),
    ],
)
def test_largest_share_that_no_smaller_one_contradicts(estimates, allowed, evidence, place):
    chosen = choose(jnp.asarray(estimates)[:, None], NOISE, allowed, jnp.asarray(evidence))
    assert int(chosen) == place


def test_features_are_moments_in_units_of_the_last_share(x64, key):
    members = 3 + jax.random.normal(key, (2, 50, 3), jnp.float64)
    log_weights = jax.nn.log_softmax(jax.random.normal(key, (2, 50), jnp.float64))
    found = np.asarray(features(members, log_weights, products=True))
    last = np.asarray(members[-1])
    root = np.linalg.cholesky(np.cov(last.T, ddof=0))
    for g in range(2):
        z = np.linalg.solve(root, (np.asarray(members[g]) - last.mean(0)).T).T
        unit = np.linalg.solve(root, (last - last.mean(0)).T).T
        w = np.exp(np.asarray(log_weights[g]))
        pairs = [(i, j) for i in range(3) for j in range(i, 3)]
        expected = [w @ z[:, i] / unit[:, i].std() for i in range(3)]
        expected += [w @ (z[:, i] * z[:, j]) / (unit[:, i] * unit[:, j]).std() for i, j in pairs]
        np.testing.assert_allclose(found[g], expected, rtol=1e-8, atol=1e-10)


def test_weights_of_every_coordinate(x64, key):
    members = jax.random.normal(key, (2, 50, 3), jnp.float64)
    log_weights = jax.nn.log_softmax(jax.random.normal(key, (2, 3, 50), jnp.float64))
    found = np.asarray(features(members, log_weights, products=False))
    for j in range(3):
        same = jnp.broadcast_to(log_weights[:, j : j + 1], (2, 3, 50))[:, 0]
        alone = np.asarray(features(members, same, products=False))
        np.testing.assert_allclose(found[:, [j, 3 + j]], alone[:, [j, 3 + j]], rtol=1e-12)


def test_a_constant_coordinate_contradicts_nothing():
    members = jnp.zeros((2, 5, 1)).at[0].set(7.0)
    log_weights = jnp.full((2, 5), -np.log(5.0, dtype=np.float32))
    assert np.all(np.asarray(features(members, log_weights, products=False)) == 0)


@eqx.filter_jit
def share(key, forecast, y):
    observation = kd.GaussianObservation(kd.observations.identity, 0.5)
    measurement = split(observation, key, forecast, jnp.zeros(()))
    alive = jnp.ones(forecast.shape[0], bool)
    return bridges.bridge(kd.CovarianceKernel(), key, forecast, alive, y, measurement, None).share


def test_gaussian_forecasts_go_to_the_gain_and_others_to_the_weights(key):
    """Few members for their dimensions, and many skewed ones in the plane."""
    gaussian, skewed = [], []
    for k in jax.random.split(key, 12):
        k, draw = jax.random.split(k)
        gaussian.append(float(share(k, jax.random.normal(draw, (100, 6)), jnp.full(6, 0.5))))
        z = jax.random.normal(draw, (200, 2))
        skewed.append(float(share(k, jnp.exp(1.5 * z), jnp.full(2, 0.5))))
    assert np.mean(gaussian) > 0.6
    assert np.mean(skewed) < 0.1
