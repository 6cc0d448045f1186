"""The first stage of every scheme: who takes part, what they predict, and the error model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stages import predicted

import kdediff_jax as kd
from kdediff_jax.analysis.predict import predict_from_pairs, simulate
from kdediff_jax.observations import sample_ensemble

NAN = np.nan
DENSITY = kd.SimulatedDensity()
MATRIX = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
STD = np.array([0.7, 0.4])


def linear():
    return kd.GaussianObservation(kd.Linear(MATRIX), STD)


def members(n):
    mix = np.random.default_rng(3).normal(size=(3, 3))
    return np.random.default_rng(4).normal(size=(n, 3)) @ mix.T + 3


def test_what_is_known_of_a_forecast(x64):
    x, y = members(20), np.array([1.0, NAN])
    forecast = predicted(linear(), x, y)
    h = x @ MATRIX.T
    np.testing.assert_array_equal(forecast.measured, [True, False])
    np.testing.assert_allclose(forecast.predictions, h, rtol=1e-12)
    np.testing.assert_allclose(forecast.noise, [0.49, 1.0])
    np.testing.assert_allclose(forecast.anomalies, x - x.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(
        forecast.deviations, (h - h.mean(axis=0)) * [1, 0], rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(forecast.mean_innovation, [1 - h[:, 0].mean(), 0], rtol=1e-12)
    np.testing.assert_allclose(forecast.innovations, (1 - h) * [1, 0], rtol=1e-12)
    expected = -0.5 * (1 - h[:, 0]) ** 2 / 0.49
    densities = np.asarray(forecast.log_components())
    assert not densities[:, 1].any()
    np.testing.assert_allclose(densities[:, 0], expected, rtol=1e-12)
    moved = forecast.at(jnp.asarray(x + 1))
    np.testing.assert_allclose(moved.predictions, (x + 1) @ MATRIX.T, rtol=1e-12)


def roots(x):
    return jnp.stack([x[0], jnp.sqrt(x[1]), jnp.sqrt(x[0] - 1.5)])


def test_a_member_that_can_predict_little_of_the_measurement_takes_no_part():
    x = np.array([[1.0, 4.0], [2.0, -1.0], [1.0, -9.0], [3.0, 9.0]], "float32")
    observed = kd.GaussianObservation(roots, 0.5)
    forecast = predicted(observed, x, [1.0, 2.0, 1.0])
    np.testing.assert_array_equal(forecast.alive, [True, True, False, True])
    assert np.isfinite(forecast.predictions).all()
    # what does not count in y does not count against a member
    forecast = predicted(observed, x, [1.0, 2.0, NAN])
    np.testing.assert_array_equal(forecast.alive, [True, True, True, True])


def test_what_a_member_cannot_predict_follows_from_its_state(x64):
    x = members(40)

    def some(x):
        h = jnp.asarray(MATRIX) @ x
        return jnp.stack([h[0], jnp.where(x[0] > 4, jnp.nan, h[1])])

    observed = kd.GaussianObservation(some, STD)
    forecast = predicted(observed, x, np.zeros(2))
    assert forecast.alive.all() and 5 < (x[:, 0] > 4).sum() < 20
    error = np.asarray(forecast.predictions) - x @ MATRIX.T
    np.testing.assert_allclose(error[x[:, 0] <= 4], 0, atol=1e-12)
    # the ridge takes its part where all that is known lies on one side
    assert np.abs(error).max() < 0.2 * np.std(x @ MATRIX.T, axis=0)[1]
    moved = forecast.at(forecast.members + 0.1)
    assert np.isfinite(moved.predictions).all()


def test_a_component_that_nobody_predicts_is_missing():
    observed = kd.GaussianObservation(lambda x: jnp.stack([x[0], jnp.nan * x[1]]), 0.5)
    forecast = predicted(observed, members(6).astype("float32"), [1.0, 2.0])
    np.testing.assert_array_equal(forecast.measured, [True, False])
    assert forecast.alive.all() and np.isfinite(forecast.predictions).all()


def test_the_error_model_from_replicates_and_from_pairs(x64, key):
    n = 500
    x = members(n)
    sampled = predicted(linear(), x, np.zeros(2), noise="sampled")
    np.testing.assert_allclose(np.diag(sampled.noise), STD**2, rtol=0.15)
    assert np.abs(sampled.predictions - x @ MATRIX.T).max() < 4.8 * STD.max() / 8**0.5
    pairs = sample_ensemble(linear(), key, jnp.asarray(x), 0.0)
    found = predict_from_pairs(jnp.asarray(x), jnp.ones(n, bool), pairs, jnp.zeros(2), DENSITY)
    np.testing.assert_allclose(np.diag(found.noise), STD**2, rtol=0.2)
    np.testing.assert_allclose(found.predictions, x @ MATRIX.T, atol=0.3)
    # h is linear in the members, so that it can be asked anywhere
    change = np.asarray(found.at(jnp.asarray(x + 10)).predictions - found.predictions)
    np.testing.assert_allclose(change, np.tile(change[:1], (n, 1)), rtol=1e-9)


class Broken(kd.AbstractObservation):
    """It measures one member with a factor of a million, noise included."""

    def sample(self, key, x, t):
        y = x[:2] + 0.5 * jax.random.normal(key, (2,), x.dtype)
        return jnp.where(x[0] > 100, 1e6, 1) * y


@pytest.mark.parametrize("noise", ["sampled", "pairs"])
def test_who_takes_no_part_says_nothing_of_the_error_model(noise, x64):
    x = members(60)
    x[7, 0] = 101 + np.std(x[:, 0])  # no further than honest members may be
    sound = np.delete(x, 7, axis=0)
    forecast = predicted(Broken(), x, np.zeros(2), noise=noise)
    assert forecast.alive.sum() == 59 and not forecast.alive[7]
    wanted = predicted(Broken(), sound, np.zeros(2), noise=noise).noise
    np.testing.assert_allclose(np.diag(forecast.noise), np.diag(wanted), rtol=0.4)
    assert np.abs(forecast.predictions).max() < 100


def test_replicates_of_a_moved_member_meet_the_same_noise(x64):
    forecast = predicted(linear(), members(10), np.zeros(2), noise="sampled")
    moved = forecast.at(forecast.members + 1)
    change = np.asarray(moved.predictions - forecast.predictions)
    np.testing.assert_allclose(change, np.tile(MATRIX.sum(axis=1), (10, 1)), atol=1e-9)


def test_simulated_replicates_are_independent(key):
    drawn = simulate(key, jnp.zeros((50, 3)), linear(), jnp.zeros(()), 4)
    assert drawn.shape == (4, 50, 2)
    flat = np.asarray(drawn).reshape(4, 100)
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.5


class ScalarSample(kd.AbstractObservation):
    def sample(self, key, x, t):
        return x[0]


@pytest.mark.parametrize("noise", ["sampled", "pairs", "auto"])
def test_a_sample_that_is_no_vector_is_named(noise):
    with pytest.raises(ValueError, match=r"observation: .*\(m,\), got \(\)"):
        predicted(ScalarSample(), members(5).astype("float32"), [0.0], noise=noise)


def test_known_noise_must_be_stated():
    with pytest.raises(TypeError, match=r"observation: .*mean.*ScalarSample"):
        predicted(ScalarSample(), members(5).astype("float32"), [0.0], noise="known")


def test_a_measurement_of_another_size_is_named():
    with pytest.raises(ValueError, match=r"y: expected shape \(2,\), got \(3,\)"):
        predicted(linear(), members(5).astype("float32"), np.zeros(3))
