"""Dynamics against SciPy and their exact symmetries."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import kdediff_jax as kd

L63 = np.array([1.5, -1.5, 25.0])
L96 = 8.0 + np.sin(np.arange(7.0))


def lorenz63(t, x):
    return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]


def lorenz96(t, x):
    n = len(x)
    return [(x[(i + 1) % n] - x[i - 2]) * x[i - 1] - x[i] + 8 for i in range(n)]


@pytest.mark.parametrize(
    ("kind", "tendency", "x"), [(kd.Lorenz63, lorenz63, L63), (kd.Lorenz96, lorenz96, L96)]
)
@pytest.mark.parametrize(("method", "order"), [("rk4", 4), ("euler", 1)])
def test_converges_at_the_order_of_the_method(x64, key, kind, tendency, x, method, order):
    interval = 0.2
    solution = solve_ivp(tendency, (0, interval), x, rtol=1e-12, atol=1e-12, method="DOP853")

    def error(substeps):
        model = kind(interval=interval, substeps=substeps, method=method)
        step = eqx.filter_jit(model.step)(key, jnp.asarray(x), 0.0)
        return np.abs(np.asarray(step) - solution.y[:, -1]).max()

    coarse, fine = (error(n) for n in ((40, 80) if method == "rk4" else (2000, 4000)))
    # halving the step divides the error by 2^order, up to the next order's share
    assert coarse / fine == pytest.approx(2**order, rel=0.1)
    assert fine < (1e-5 if method == "rk4" else 0.1)


def test_parameters_reach_the_equations(x64):
    x = jnp.asarray([1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        kd.Lorenz63(sigma=2.0, rho=5.0, beta=0.5).tendency(x), [2.0, 0.0, 0.5], rtol=1e-15
    )
    np.testing.assert_allclose(kd.Lorenz96(forcing=3.0).tendency(jnp.ones(4)), np.full(4, 2.0))


def test_lorenz63_step_is_symmetric(dtype, key):
    mirror = jnp.asarray([-1, -1, 1], dtype)
    x = jnp.asarray(L63, dtype)
    step = eqx.filter_jit(kd.Lorenz63().step)
    # changing two signs commutes with every rounding: bit for bit
    np.testing.assert_array_equal(step(key, mirror * x, 0.0), mirror * step(key, x, 0.0))


def test_z_only_posterior_keeps_the_symmetry(x64, key):
    mirror = jnp.asarray([-1.0, -1.0, 1.0])
    half, latents = jax.random.normal(key, (2, 10, 3))
    half = half * 3 + jnp.asarray([[5.0, 5.0, 25.0]])
    members = jnp.concatenate([half, mirror[None] * half])
    latents = jnp.concatenate([latents, mirror[None] * latents])
    log_weights = kd.kde.log_weights(jnp.asarray([24.0]), members[:, 2:], 1.0)
    flow = jax.jit(lambda z: kd.ProbabilityFlow().sample(z, members, log_weights, 0.5)[0])
    analysis = flow(latents)
    assert np.std(analysis[:10, 0]) > 0.1
    # rounding of the mean and of the root (1e-16), grown by the flow to the scale of a state
    np.testing.assert_allclose(analysis[10:], mirror[None] * analysis[:10], rtol=0, atol=1e-10)


def test_lorenz96_step_is_translation_symmetric(dtype, key):
    x = jnp.asarray(L96, dtype)
    step = eqx.filter_jit(kd.Lorenz96(substeps=3).step)
    for shift in (1, 3):
        moved = step(key, jnp.roll(x, shift), 0.0)
        # a vectorised loop may fuse the products of its last elements differently
        np.testing.assert_allclose(
            moved, jnp.roll(step(key, x, 0.0), shift), rtol=20 * jnp.finfo(dtype).eps
        )


@pytest.mark.parametrize("kind", [kd.Lorenz63, kd.Lorenz96, kd.RandomWalk])
def test_noise_std(key, kind):
    x = jnp.asarray(L63 if kind is kd.Lorenz63 else L96, "float32")
    std = jnp.asarray(0.5) if kind is kd.Lorenz63 else jnp.linspace(0.1, 0.7, 7)
    n = 4000

    def noise(std):
        return jax.vmap(lambda k: kind(noise_std=std).step(k, x, 0.0))(jax.random.split(key, n))

    z = np.asarray(noise(std) - noise(jnp.zeros_like(std))) / np.asarray(std)
    # standard errors of a mean and a standard deviation of n normals: 1/sqrt(n), 1/sqrt(2n)
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(n)
    assert np.abs(z.std(axis=0) - 1).max() < 5 / np.sqrt(2 * n)
    assert np.abs(np.corrcoef(z.T) - np.eye(x.size)).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("root", [0.3, [[0.5, 0.0], [-0.4, 0.2]]])
def test_linear_gaussian_moments(key, root):
    a, x, n = np.array([[0.9, 0.5], [-0.3, 0.8]]), jnp.asarray([1.0, -2.0]), 4000
    model = kd.LinearGaussian(a, root)
    draws = jax.vmap(lambda k: model.step(k, x, 0.0))(jax.random.split(key, n))
    q = np.asarray(root) * np.eye(2) if np.ndim(root) == 0 else np.asarray(root)
    # whitened by the exact law the draws are n standard normals
    z = np.linalg.solve(q, (np.asarray(draws) - a @ np.asarray(x)).T)
    assert np.abs(z.mean(axis=1)).max() < 5 / np.sqrt(n)
    assert np.abs(np.cov(z) - np.eye(2)).max() < 5 * np.sqrt(2 / n)
