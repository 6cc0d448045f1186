"""The Gaussian mixture between the particle filter and the Kalman filter, against its equations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick
from stages import predicted

import kdediff_jax as kd
from kdediff_jax.analysis.enkpf.mixture import Mixture, draw, particle_weights, weigh
from kdediff_jax.ensemble.covariance import shrunk
from kdediff_jax.kalman import analysis as kalman_analysis

MATRIX = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
STD = np.array([0.7, 0.4])
Y = np.array([4.0, 1.0])
N = 40


def members(key, n=N):
    mix = np.random.default_rng(3).normal(size=(3, 3))
    return jax.random.normal(key, (n, 3), jnp.float64) @ mix.T + 3


@quick
def linear(x, y, width, share=1.0):
    """The mixture of a linear Gaussian measurement."""
    observation = kd.GaussianObservation(kd.Linear(MATRIX), STD)
    return weigh(predicted(observation, x, y), width, share)


def mixture_moments(mixture):
    w = np.exp(np.asarray(mixture.log_weights))
    means, root = np.asarray(mixture.means), np.asarray(mixture.root)
    mean = w @ means
    return mean, (means - mean).T @ (w[:, None] * (means - mean)) + root @ root.T


def by_hand(x, y, h, share):
    """Return the mixture of the module's equations for the noise R / share, by NumPy's inverses."""
    mean, p, r = x.mean(axis=0), np.cov(x.T), np.diag(STD**2) / share
    centres = mean + np.sqrt(1 - h**2) * (x - mean)
    s = h**2 * MATRIX @ p @ MATRIX.T + r
    gain = h**2 * p @ MATRIX.T @ np.linalg.inv(s)
    e = y - centres @ MATRIX.T
    log_w = -0.5 * np.einsum("ni,ij,nj->n", e, np.linalg.inv(s), e)
    w = np.exp(log_w - log_w.max())
    return centres + e @ gain.T, w / w.sum(), h**2 * p - gain @ MATRIX @ p * h**2


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("h", [0.2, 0.6, 1.0])
def test_components_are_those_of_the_equations(x64, key, h, share):
    x = members(key)
    got = linear(x, Y, h, share)
    means, w, q = by_hand(np.asarray(x), Y, h, share)
    np.testing.assert_allclose(got.means, means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.exp(got.log_weights), w, rtol=1e-8, atol=1e-12)
    expected = shrunk(jnp.asarray(q), N)
    np.testing.assert_allclose(got.root @ got.root.T, expected, rtol=1e-8, atol=1e-9)


def test_no_share_of_the_likelihood_says_nothing(x64, key):
    got = linear(members(key), Y, 0.3, 0.0)
    np.testing.assert_allclose(got.log_weights, -np.log(N), rtol=1e-12)


def test_width_one_is_the_gaussian_update(x64, key):
    x = members(key)
    mixture = linear(x, Y, 1.0)
    arrays = x.mean(0), jnp.cov(x.T), Y, MATRIX, np.diag(STD**2)
    expected, _ = kalman_analysis(*map(jnp.asarray, arrays))
    np.testing.assert_allclose(mixture.means, np.tile(expected, (N, 1)), rtol=1e-9)


@pytest.mark.parametrize("h", [0.0, 1e-6])
def test_a_width_of_zero_is_the_particle_filter(x64, key, h):
    x = members(key)
    mixture = linear(x, Y, h)
    log_w = -0.5 * (((Y - np.asarray(x) @ MATRIX.T) / STD) ** 2).sum(axis=1)
    np.testing.assert_allclose(mixture.log_weights, jax.nn.log_softmax(log_w), rtol=1e-6)
    np.testing.assert_allclose(mixture.means, x, atol=1e-6)
    assert np.abs(mixture.root).max() < 1e-5
    observation = kd.GaussianObservation(kd.Linear(MATRIX), STD)
    weights = quick(lambda x: particle_weights(predicted(observation, x, Y), 0.4))(x)
    np.testing.assert_allclose(weights, jax.nn.log_softmax(0.4 * log_w), rtol=1e-9)


@pytest.mark.parametrize("h", [0.1, 0.5, 0.9, 1.0])
def test_moments_are_kept_where_nothing_is_measured(x64, key, h):
    x = members(key)
    mean, covariance = mixture_moments(linear(x, np.full(2, np.nan), h))
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(np.diag(covariance), np.var(x, axis=0, ddof=1), rtol=0.03)


def test_a_missing_component_is_as_if_never_measured(x64, key):
    x = members(key)
    half = linear(x, np.array([4.0, np.nan]), 0.5)
    first = kd.GaussianObservation(kd.Linear(MATRIX[:1]), STD[:1])
    alone = quick(lambda x: weigh(predicted(first, x, Y[:1]), 0.5))(x)
    for a, b in zip(half, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def first_squared(x):
    return x[:1] ** 2


def test_without_linear_relation_it_is_the_product_kernel(x64, key):
    """P = I, a measurement without covariance with the state: the paper's weights and kernel."""
    n, h, r, y = 400, 0.05, 0.3, jnp.array([1.5])
    x = kd.latents.match_moments(members(key, n)) * ((n - 1) / n) ** 0.5
    squares = x[:, :1] ** 2  # even: no covariance with x to speak of
    observation = kd.GaussianObservation(first_squared, r)
    mixture = quick(lambda x: weigh(predicted(observation, x, y), h))(x)
    spread = float(jnp.var(squares, ddof=1)) * h**2
    expected = kd.kde.log_weights(y, squares, (r**2 + spread) ** 0.5)
    np.testing.assert_allclose(jnp.exp(mixture.log_weights), jnp.exp(expected), atol=2e-4)
    np.testing.assert_allclose(mixture.root, h * np.eye(3), atol=2e-3)


@pytest.mark.parametrize("make", [kd.LaplaceObservation, kd.StudentTObservation])
def test_a_density_that_is_not_gaussian_weighs_the_centres(x64, key, make):
    """The kernel only smooths: centres stay, and so does the kernel's covariance."""
    observation, x, y, h = make(kd.Select((0,)), 0.5), members(key), jnp.array([2.0]), 0.3
    mixture = quick(lambda x: weigh(predicted(observation, x, y), h, 0.4))(x)
    mean = x.mean(axis=0, keepdims=True)
    centres = mean + (1 - h**2) ** 0.5 * (x - mean)
    log_likelihood = jax.vmap(lambda z: observation.log_likelihood(y, z, 0.0))(centres)
    np.testing.assert_allclose(mixture.means, centres, rtol=1e-9)
    expected = jax.nn.log_softmax(0.4 * log_likelihood)
    np.testing.assert_allclose(mixture.log_weights, expected, rtol=1e-9)
    kernel = shrunk(h**2 * jnp.cov(x.T), N)
    np.testing.assert_allclose(mixture.root @ mixture.root.T, kernel, rtol=1e-8)


def test_draws_have_the_mixtures_moments(x64, key):
    n = 4000
    rng = np.random.default_rng(4)
    root = np.tril(rng.normal(size=(2, 2))) + 2 * np.eye(2)
    log_weights = jax.nn.log_softmax(jnp.asarray(rng.normal(size=n)))
    mixture = Mixture(
        jnp.asarray(5 * rng.normal(size=(n, 2)) + 100), log_weights, jnp.asarray(root)
    )
    drawn, stats = quick(lambda mixture: draw(key, mixture, kd.ExactMixture()))(mixture)
    mean, covariance = mixture_moments(mixture)
    assert stats.ok
    standard = np.linalg.solve(np.linalg.cholesky(covariance), (np.asarray(drawn) - mean).T)
    assert np.abs(standard.mean(axis=1)).max() < 5 / n**0.5
    assert np.abs(np.cov(standard) - np.eye(2)).max() < 5 * (2 / n) ** 0.5
