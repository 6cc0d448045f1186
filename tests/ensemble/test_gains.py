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
from kdediff_jax.ensemble.covariance import whole_ensemble


def _noise(m, seed=0):
    root = np.random.default_rng(seed).normal(size=(m, m))
    return jnp.asarray(root @ root.T + np.eye(m))


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_a_linear_measurement_is_followed_whole(x64, share):
    rng = np.random.default_rng(1)
    h = rng.normal(size=(3, 4))
    members = rng.normal(size=(30, 4))
    anomalies = jnp.asarray(members) - members.mean(axis=0, keepdims=True)
    covariances = whole_ensemble(anomalies, anomalies @ h.T)
    noise = _noise(3)
    pull = share * jnp.asarray(10 * rng.normal(size=(30, 3)))
    steps = (gains.gain(covariances, noise, share) @ pull[:, :, None])[:, :, 0]
    np.testing.assert_allclose(gains.secant(pull, steps @ h.T, noise, share), 1, rtol=1e-12)


def test_an_overshoot_is_cut_to_the_least_distance(x64):
    """Against a search over t."""
    rng = np.random.default_rng(2)
    noise = _noise(2)
    e, response = jnp.asarray(rng.normal(size=(2, 20, 2)))
    response = 5 * response
    found = gains.secant(0.3 * e, response, noise, 0.3)[:, 0]
    grid = np.linspace(0, 1, 100_001)
    inverse = np.linalg.inv(noise)
    for i in range(20):
        left = np.asarray(e[i]) - grid[:, None] * np.asarray(response[i])
        best = grid[np.argmin(np.einsum("ta,ab,tb->t", left, inverse, left))]
        assert abs(found[i] - best) <= 1e-5
    assert np.mean((np.asarray(found) > 0) & (np.asarray(found) < 1)) > 0


def test_no_response_no_damping_and_no_number_no_step():
    pull = jnp.ones((3, 1))
    response = jnp.array([[0.0], [jnp.nan], [jnp.inf]])
    found = gains.secant(pull, response, jnp.eye(1))
    np.testing.assert_array_equal(found[:, 0], [1.0, 0.0, 0.0])


def test_gradient_is_finite_where_nothing_responds():
    def total(pull):
        return jnp.sum(gains.secant(pull, 0 * pull, jnp.eye(2)))

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
def test_the_step_of_few_members_is_that_of_the_gain(x64, m):
    """Both systems, of N and of m unknowns, whichever is smaller."""
    rng = np.random.default_rng(m)
    x, y, pull = (jnp.asarray(rng.normal(size=(12, k))) for k in (5, m, m))
    anomalies, deviations = (a - a.mean(axis=0, keepdims=True) for a in (x, y))
    noise = _noise(m)
    covariances = whole_ensemble(anomalies, deviations)
    expected, _ = gains.stochastic_step(covariances, pull, jnp.zeros_like(pull), noise)
    root = np.linalg.cholesky(noise)
    white = (jnp.asarray(np.linalg.solve(root, np.asarray(a).T).T) for a in (deviations, pull))
    step, freedom = gains.step_of_few(anomalies, *white)
    np.testing.assert_allclose(step, expected, atol=1e-10)
    wanted = gains.degrees_of_freedom(covariances.signal[0], noise)
    np.testing.assert_allclose(freedom, wanted, rtol=1e-9)


def test_an_enkf_of_few_members_forms_no_square_of_the_measurements(key):
    n, m = 10, 200
    x, observation = jnp.ones((n, m)), kd.GaussianObservation(kd.Identity(), 0.5)
    for scheme in (kd.EnKF(), kd.ETKF()):
        program = jax.make_jaxpr(lambda x, f=scheme: f(key, x, jnp.zeros(m), observation)[0])(x)
        assert f"{m},{m}]" not in str(program)
