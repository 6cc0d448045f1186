"""The ensemble transform: a Kalman analysis for any share, and coordinate by coordinate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdediff_jax.ensemble.neighbours import AT_ONCE, Neighbourhoods, Neighbours
from kdediff_jax.ensemble.transform import local_transform, transform

VARIANCES = np.array([0.5, 2.0, 1.0])


def problem(n, d=4, m=3):
    """Return anomalies, deviations of the predictions, innovation, and H."""
    rng = np.random.default_rng(n)
    h = rng.normal(size=(m, d))
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    x = x - x.mean(axis=0)
    return x, x @ h.T, 2 * rng.normal(size=m), h


def kalman(x, innovation, h, r):
    """Return the increment of the mean and the covariance by the dense equations."""
    p = x.T @ x / (len(x) - 1)
    gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + r)
    return gain @ innovation, p - gain @ h @ p


def scaled(deviations, innovation, variances=VARIANCES):
    root = np.sqrt(variances)
    return jnp.asarray(np.asarray(deviations) / root), jnp.asarray(innovation / root)


@pytest.mark.parametrize("share", [1.0, 0.2])
@pytest.mark.parametrize("n", [2, 3, 12])  # fewer, as many and more members than measurements
def test_it_is_the_kalman_analysis_of_the_noise_over_the_share(x64, n, share):
    x, deviations, innovation, h = problem(n)
    increment, anomalies, freedom = transform(
        *scaled(deviations, innovation), jnp.asarray(x), share
    )
    mean, covariance = kalman(x, innovation, h, np.diag(VARIANCES) / share)
    np.testing.assert_allclose(increment, mean, atol=1e-10)
    np.testing.assert_allclose(anomalies.T @ anomalies / (n - 1), covariance, atol=1e-10)
    np.testing.assert_allclose(np.sum(anomalies, axis=0), 0, atol=1e-10)  # the symmetric root
    p = x.T @ x / (n - 1)
    signal = h @ p @ h.T
    wanted = np.trace(signal @ np.linalg.inv(signal + np.diag(VARIANCES)))
    np.testing.assert_allclose(freedom, wanted, rtol=1e-9)


def test_shares_one_after_the_other_are_the_whole(x64):
    """0.3 of the likelihood, then the other 0.7."""
    x, deviations, innovation, h = problem(12)
    first, part, _ = transform(*scaled(deviations, innovation), jnp.asarray(x), 0.3)
    left = innovation - h @ np.asarray(first)
    second, rest, _ = transform(*scaled(np.asarray(part) @ h.T, left), part, 0.7)
    mean, covariance = kalman(x, innovation, h, np.diag(VARIANCES))
    np.testing.assert_allclose(first + second, mean, atol=1e-10)
    np.testing.assert_allclose(rest.T @ rest / 11, covariance, atol=1e-10)


def test_a_share_of_nothing_changes_nothing(x64):
    x, deviations, innovation, _ = problem(12)
    increment, anomalies, _ = transform(*scaled(deviations, innovation), jnp.asarray(x), 0.0)
    np.testing.assert_array_equal(increment, 0)
    np.testing.assert_array_equal(anomalies, x)


@pytest.mark.parametrize("n", [3, 12])
def test_with_a_taper_of_one_the_local_transform_is_the_global_one(x64, n):
    x, deviations, innovation, _ = problem(n)
    shares = jnp.array([1.0, 0.4])
    moved, freedom = jax.jit(local_transform)(
        jnp.asarray(x), jnp.asarray(deviations), jnp.asarray(innovation),
        Neighbourhoods((Neighbours(jnp.ones((4, 3))),)), jnp.asarray(VARIANCES), shares,
    )  # fmt: skip
    for k, share in enumerate(shares):
        whole = transform(*scaled(deviations, innovation), jnp.asarray(x), share)
        np.testing.assert_allclose(moved[k], whole.increment[None] + whole.anomalies, atol=1e-10)
        np.testing.assert_allclose(freedom, whole.freedom, rtol=1e-10)


def test_every_coordinate_sees_its_own_noise(x64):
    """A taper divides the noise's variance: each column is a Kalman analysis of its own."""
    x, deviations, innovation, h = problem(12)
    taper = np.random.default_rng(0).uniform(0.1, 1, (4, 3))
    taper[2] = 0
    moved, freedom = jax.jit(local_transform)(
        *map(jnp.asarray, (x, deviations, innovation)),
        Neighbourhoods((Neighbours(jnp.asarray(taper)),)),
        jnp.asarray(VARIANCES),
        jnp.ones(1),
    )
    moved = np.asarray(moved[0])
    for j in (0, 1, 3):
        mean, covariance = kalman(x, innovation, h, np.diag(VARIANCES / taper[j]))
        np.testing.assert_allclose(moved[:, j].mean(), mean[j], atol=1e-10)
        np.testing.assert_allclose(moved[:, j].var(ddof=1), covariance[j, j], atol=1e-10)
    np.testing.assert_array_equal(moved[:, 2], x[:, 2])  # nothing measured near
    assert freedom[2] == 0


def test_more_coordinates_than_are_taken_at_once(key):
    d = AT_ONCE + 3
    x = jax.random.normal(key, (5, d))
    x = x - x.mean(axis=0, keepdims=True)
    innovation, r = jnp.ones(2), jnp.ones(2)
    near = Neighbourhoods((Neighbours(jnp.ones((d, 2))),))
    moved, _ = jax.jit(local_transform)(x, x[:, :2], innovation, near, r, jnp.ones(1))
    increment, anomalies, _ = jax.jit(lambda x: transform(x[:, :2], innovation, x))(x)
    np.testing.assert_allclose(moved[0], increment[None] + anomalies, atol=1e-5)


def test_units_decide_nothing(dtype):
    x, deviations, innovation, _ = problem(12)
    units = np.array([1e9, 1e-9, 1.0])
    results = []
    for unit in (np.ones(3), units):
        both = scaled(deviations * unit, innovation * unit, VARIANCES * unit**2)
        both = (v.astype(dtype) for v in both)
        results.append(transform(*both, jnp.asarray(x, dtype)))
    for a, b in zip(*results, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(b, a, atol=1e-4 if dtype == jnp.float32 else 1e-11)


@pytest.mark.parametrize("n", [3, 12])
@pytest.mark.parametrize("unreached", [0, 2, 3])  # two equal eigenvalues of 0, and all of them
def test_gradients_where_nothing_is_measured_are_those_of_differences(x64, n, unreached):
    x, deviations, innovation, _ = problem(n)
    taper = jnp.where(jnp.arange(3) < unreached, 0, jnp.array([1.0, 0.5, 0.25]))
    shares = jnp.array([1.0, 0.3])

    def total(x, deviations):
        moved, freedom = local_transform(
            x,
            deviations,
            jnp.asarray(innovation),
            Neighbourhoods((Neighbours(jnp.stack([taper] * 4)),)),
            VARIANCES,
            shares,
        )
        return jnp.sum(jnp.sin(moved)) + jnp.sum(freedom**2)

    arguments = jnp.asarray(x), jnp.asarray(deviations)
    check_grads(jax.jit(total), arguments, order=1, modes=("fwd", "rev"), eps=1e-6, rtol=1e-5)
