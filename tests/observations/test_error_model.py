"""h and R: as stated, from replicates, from pairs; each against its definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.numerics import variances
from kdediff_jax.observations.error_model import (
    ErrorModel,
    from_pairs,
    from_statement,
    replicated,
)
from kdediff_jax.observations.simulated_density import SimulatedDensity

H = np.array([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0]])
ROOT = np.array([[0.6, 0.0], [-0.3, 0.2]])  # of R: its components are correlated


class Simulator(kd.AbstractObservation):
    """y = H x + ROOT e, known by its draws alone."""

    def sample(self, key, x, t):
        """Draw y."""
        noise = jnp.asarray(ROOT, x.dtype) @ jax.random.normal(key, (2,), x.dtype)
        return jnp.asarray(H, x.dtype) @ x + noise + t


def members(n, dtype=jnp.float32):
    scale = np.array([1.0, 30.0, 0.1])
    return jnp.asarray(scale * np.random.default_rng(0).normal(size=(n, 3)) + 5, dtype)


def from_replicates(observation, key, x, t, replicates):
    """Return the error model where all that is finite counts."""
    simulated = replicated(observation, key, x, t, replicates, SimulatedDensity())
    return simulated.model(x, jnp.isfinite(simulated.values))


def test_what_is_stated_is_taken_as_it_is(dtype):
    x, t = members(7, dtype), jnp.zeros((), dtype)
    observation = kd.GaussianObservation(kd.Linear(H), [0.5, 2.0])
    model = from_statement(observation, x, t)
    assert model.covariance.dtype == dtype and model.log_likelihood is None
    np.testing.assert_allclose(model.predict(x), np.asarray(x) @ H.T, rtol=1e-4)
    np.testing.assert_allclose(model.covariance, [0.25, 4.0], rtol=1e-6)
    heavy = from_statement(kd.LaplaceObservation(kd.Linear(H), [0.5, 2.0]), x, t)
    y = jnp.asarray([3.0, np.nan], dtype)
    wanted = [kd.LaplaceObservation(kd.Linear(H), [0.5, 2.0]).log_likelihood(y, v, t) for v in x]
    np.testing.assert_allclose(heavy.log_likelihood(y, x), wanted, rtol=1e-5)


def test_noise_from_replicates_is_unbiased(key):
    n, replicates = 1000, 5
    model = from_replicates(Simulator(), key, members(n), jnp.zeros(()), replicates)
    r = ROOT @ ROOT.T
    # standard error of an entry of a sample covariance (Wishart)
    error = np.sqrt((r**2 + np.outer(np.diag(r), np.diag(r))) / (n * (replicates - 1)))
    assert np.all(np.abs(model.covariance - r) < 4 * error)
    predicted = model.predict(members(n)) - np.asarray(members(n)) @ H.T
    assert np.all(np.abs(predicted.mean(axis=0)) < 4 * np.sqrt(np.diag(r) / n / replicates))
    np.testing.assert_allclose(np.cov(predicted.T), r / replicates, atol=4 * error.max())


def test_few_replicates_of_few_members_are_unbiased_on_average(key):
    r = ROOT @ ROOT.T

    def estimate(key):
        return from_replicates(Simulator(), key, members(3), jnp.zeros(()), 2).covariance

    found = np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(key, 2000)))
    assert np.all(np.abs(found.mean(axis=0) - r) < 4 * found.std(axis=0) / np.sqrt(2000))


def test_a_member_that_moves_meets_the_same_noise(x64, key):
    x = members(6, x64)
    model = from_replicates(Simulator(), key, x, jnp.zeros(()), 3)
    step = jnp.ones((6, 3))
    change = model.predict(x + step) - model.predict(x)
    np.testing.assert_allclose(change, np.ones((6, 3)) @ H.T, atol=1e-12)


def test_a_member_without_a_finite_draw_says_nothing_of_the_noise(key):
    x = members(30)
    sound = from_replicates(Simulator(), key, x, jnp.zeros(()), 3)
    lost = from_replicates(Simulator(), key, x.at[4].set(jnp.inf), jnp.zeros(()), 3)
    assert np.isfinite(lost.covariance).all()
    np.testing.assert_allclose(lost.covariance, sound.covariance, rtol=0.5)


def ridge_by_lstsq(x, y):
    """Regression with a ridge of one member's weight: as many rows more as coordinates."""
    n, d = x.shape
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    rows = np.concatenate([z, np.eye(d)])
    slope, *_ = np.linalg.lstsq(rows, np.concatenate([y - y.mean(axis=0), 0 * y[:d]]), rcond=None)
    hat = z @ np.linalg.pinv(rows)[:, :n]
    residual = y - y.mean(axis=0) - z @ slope
    covariance = residual.T @ residual / (n - 1 - np.trace(hat))
    return (
        lambda points: y.mean(axis=0) + (points - x.mean(axis=0)) / x.std(axis=0) @ slope,
        covariance,
    )


@pytest.mark.parametrize("n", [4, 12, 200])
def test_pairs_are_a_regression(x64, n):
    rng = np.random.default_rng(n)
    x = np.asarray(members(n, x64))
    y = x @ H.T + rng.normal(size=(n, 2)) @ ROOT.T + 0.1 * x[:, :2] ** 2
    model = from_pairs(jnp.asarray(x), jnp.asarray(y))
    predict, covariance = ridge_by_lstsq(x, y)
    points = rng.normal(size=(5, 3))
    np.testing.assert_allclose(model.predict(jnp.asarray(points)), predict(points), rtol=1e-9)
    np.testing.assert_allclose(variances(model.covariance), np.diag(covariance), rtol=1e-9)
    if n > 4:  # four members and three slopes leave less than two components need: it is shrunk
        np.testing.assert_allclose(model.covariance, covariance, rtol=1e-9)


def test_many_pairs_find_h_and_its_noise(key):
    n = 4000
    x = members(n)
    y = kd.observations.sample_ensemble(Simulator(), key, x, 0.0)
    model, r = from_pairs(x, y), ROOT @ ROOT.T
    error = np.sqrt((r**2 + np.outer(np.diag(r), np.diag(r))) / n)
    assert np.all(np.abs(model.covariance - r) < 4 * error)
    np.testing.assert_allclose(model.predict(x), np.asarray(x) @ H.T, atol=0.1)


def test_a_constant_coordinate_has_no_slope():
    x = jnp.stack([jnp.arange(6.0), jnp.full(6, 2.0)], axis=1)
    model = from_pairs(x, 3 * x[:, :1])
    moved = model.predict(x.at[:, 1].add(100.0))
    np.testing.assert_allclose(moved, model.predict(x), rtol=1e-6)
    assert np.all(model.covariance > 0)  # a component without noise is known to rounding only
    slope = jax.grad(lambda x: jnp.sum(from_pairs(x, 3 * x[:, :1]).predict(x)))(x)
    assert np.isfinite(slope).all()


def test_components_add_up_to_the_density(dtype):
    x, t = members(9, dtype), jnp.zeros((), dtype)
    y = jnp.asarray([4.0, 7.0], dtype)
    variance = jnp.asarray([0.25, 4.0], dtype)
    for kind in (kd.GaussianObservation, kd.LaplaceObservation):
        observation = kind(kd.Linear(H), [0.5, 2.0])
        model = from_statement(observation, x, t)
        each = model.log_components(y, x, variance)
        assert each.shape == (9, 2) and each.dtype == dtype
        whole = jnp.stack([observation.log_likelihood(y, v, t) for v in x])
        difference = np.asarray(jnp.sum(each, axis=1) - whole, float)
        np.testing.assert_allclose(difference, difference[0], atol=1e-4 * np.abs(whole).max())
        missing = model.log_components(y.at[1].set(jnp.nan), x, variance)
        np.testing.assert_array_equal(missing[:, 0], each[:, 0])
        np.testing.assert_array_equal(missing[:, 1], 0)


def test_a_component_of_infinite_noise_is_as_good_as_missing():
    model = ErrorModel(lambda x: x, jnp.diag(jnp.array([1.0, 1e30])))
    x = jnp.arange(6.0).reshape(3, 2)
    each = model.log_components(jnp.zeros(2), x, jnp.array([1.0, 1e30]))
    np.testing.assert_allclose(each[:, 1], 0, atol=1e-25)


def test_a_sample_of_another_shape_is_named(key):
    class Scalar(kd.AbstractObservation):
        def sample(self, key, x, t):
            return x[0]

    with pytest.raises(ValueError, match=r"`sample` to return a vector \(m,\), got \(\)"):
        from_replicates(Scalar(), key, members(5), jnp.zeros(()), 2)
