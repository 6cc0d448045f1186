"""The step of a Kalman gain is damped where it overshoots, and nowhere else."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.analysis.enkpf.kalman_moves import LocalGain, Surrogate, kalman_moves
from kdediff_jax.analysis.predict import predict
from kdediff_jax.ensemble import gains
from kdediff_jax.ensemble.covariance import Covariances, whole_ensemble


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_a_linear_measurement_is_followed_whole(x64, share):
    rng = np.random.default_rng(1)
    h = rng.normal(size=(3, 4))
    members = rng.normal(size=(30, 4))
    anomalies = jnp.asarray(members) - members.mean(axis=0, keepdims=True)
    covariances = whole_ensemble(anomalies, anomalies @ h.T)
    pull = share * jnp.asarray(10 * rng.normal(size=(30, 3)))
    step = gains.kalman_step(covariances, pull, share)
    np.testing.assert_allclose(gains.secant(pull, step @ h.T, share), 1, rtol=1e-12)


def test_an_overshoot_is_cut_to_the_least_distance(x64):
    """Against a search over t."""
    rng = np.random.default_rng(2)
    e, response = jnp.asarray(rng.normal(size=(2, 20, 2)))
    response = 5 * response
    found = gains.secant(0.3 * e, response, 0.3)[:, 0]
    grid = np.linspace(0, 1, 100_001)
    for i in range(20):
        left = np.asarray(e[i]) - grid[:, None] * np.asarray(response[i])
        best = grid[np.argmin((left**2).sum(axis=1))]
        assert abs(found[i] - best) <= 1e-5
    assert np.mean((np.asarray(found) > 0) & (np.asarray(found) < 1)) > 0


def test_no_response_no_damping_and_no_number_no_step():
    pull = jnp.ones((3, 1))
    response = jnp.array([[0.0], [jnp.nan], [jnp.inf]])
    found = gains.secant(pull, response)
    np.testing.assert_array_equal(found[:, 0], [1.0, 0.0, 0.0])


def test_gradient_is_finite_where_nothing_responds():
    def total(pull):
        return jnp.sum(gains.secant(pull, 0 * pull))

    assert np.isfinite(jax.grad(total)(jnp.ones((3, 2)))).all()


def test_members_where_the_operator_is_flat_do_not_fly_off():
    """A cubed coordinate near zero, measured at 5^3: slopes say steps of hundreds."""
    members = (
        0.4 * jax.random.normal(jax.random.key(0), (200, 1)) + jnp.linspace(0.0, 3.0, 200)[:, None]
    )
    observation = kd.GaussianObservation(lambda x: x**3, 1.0)
    alive, y = jnp.ones(200, bool), jnp.array([125.0])

    @eqx.filter_jit  # operation by operation it is slow
    def moved():
        noise = kd.KnownNoise()
        forecast = predict(jax.random.key(1), members, alive, y, observation, 0.0, noise)
        measurement = Surrogate(forecast.y, forecast.noise)
        return kalman_moves(jax.random.key(2), forecast, measurement, jnp.ones(1), LocalGain())[0]

    found = moved()
    before = jnp.abs(members**3 - y[None])
    after = jnp.abs(found**3 - y[None])
    # up to the perturbation of the measurement
    assert jnp.max(after) < jnp.max(before) + 15
    assert jnp.mean(after) < 0.95 * jnp.mean(before)
    assert jnp.max(jnp.abs(found)) < 8


@pytest.mark.parametrize("m", [3, 40])
@pytest.mark.parametrize("alone", [True, False])
def test_a_step_is_that_of_the_gain_by_either_system(x64, m, alone):
    """One pair of covariances for all members, or one for each; 12 rows, fewer or more than m."""
    rng, share = np.random.default_rng(m), 0.4
    k = 1 if alone else 9
    x, y = (jnp.asarray(rng.normal(size=(k, 12, size))) for size in (5, m))
    pull = rng.normal(size=(9, m))
    found = gains.kalman_step(Covariances(x, y), jnp.asarray(pull), share)
    for i in range(9):
        a, b = np.asarray(x[i % k]), np.asarray(y[i % k])
        expected = a.T @ b @ np.linalg.solve(share * b.T @ b + np.eye(m), pull[i])
        np.testing.assert_allclose(found[i], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("m", [3, 40])
def test_degrees_of_freedom_are_the_trace(x64, m):
    deviations = np.random.default_rng(m).normal(size=(12, m))
    p = deviations.T @ deviations / 11
    expected = np.trace(p @ np.linalg.inv(p + np.eye(m)))
    found = gains.degrees_of_freedom(jnp.asarray(deviations))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
