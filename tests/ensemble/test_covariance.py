"""Sample covariances and their shrinkage against NumPy; neighbourhoods are those of the gains."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax.ensemble.covariance import neighbourhoods, shrunk, whole_ensemble


def clouds(n, d=3, m=2):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    h = x @ rng.normal(size=(d, m)) + 0.1 * x[:, :m] ** 2
    return x - x.mean(axis=0), h - h.mean(axis=0)


def test_the_whole_ensemble_has_sample_covariances(x64):
    x, h = clouds(9)
    found = whole_ensemble(jnp.asarray(x), jnp.asarray(h))
    joint = np.cov(np.concatenate([x, h], axis=1).T)
    np.testing.assert_allclose(found.cross, joint[None, :3, 3:], rtol=1e-12)
    np.testing.assert_allclose(found.signal, joint[None, 3:, 3:], rtol=1e-12)


def near_moments(z, h, width):
    """Weighted moments around each member by a double loop, their bias taken off."""
    for one in z:
        w = np.exp(-0.5 * ((z - one) ** 2).sum(axis=1) / width**2)
        w = w / w.sum()
        bias = 1 / (1 - np.sum(w**2))
        a, b = z - w @ z, h - w @ h
        yield bias * (w[:, None] * a).T @ a, bias * (w[:, None] * a).T @ b, 1 / np.sum(w**2)


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_neighbourhoods_are_those_of_the_equations(x64, width):
    x, h = clouds(60)
    root = np.linalg.cholesky(np.cov(x.T))
    z = np.linalg.solve(root, x.T).T
    found = jax.jit(neighbourhoods)(*map(jnp.asarray, (z, root, h, width)))
    overall, d = h.T @ z / 59, 3
    for i, (near, cross, members) in enumerate(near_moments(z, h, width)):
        ridge = 1e-3 * min(width**2, 1)
        slope = np.linalg.solve(near + ridge * np.eye(d), cross).T
        values, axes = np.linalg.eigh(near)
        rest = 1 - values / width**2
        wide = np.where(rest > values, values / np.maximum(rest, ridge), 1)
        blend = 1 if members < d + 1 else (d + 1) / (members + d + 1)
        local = axes * np.minimum(wide, 1) ** (1 - blend) @ axes.T
        slope = (1 - blend) * slope + blend * overall
        np.testing.assert_allclose(found.cross[i], root @ local @ slope.T, atol=1e-8)
        np.testing.assert_allclose(found.signal[i], slope @ local @ slope.T, atol=1e-8)


def test_shrinkage_goes_from_the_diagonal_to_the_covariance(x64):
    c = np.cov(clouds(9)[0].T)
    c = jnp.asarray(c)
    few, many = shrunk(c, 3), shrunk(c, 10**9)
    np.testing.assert_allclose(many, c, rtol=1e-6)
    for some in (few, many):
        np.testing.assert_allclose(jnp.diagonal(some), jnp.diagonal(c), rtol=1e-12)
        assert np.linalg.eigvalsh(some).min() > 0
    part = np.asarray(few / c)[~np.eye(3, dtype=bool)]
    assert np.ptp(part) < 1e-9 and 0 <= part[0] < 1  # one intensity for all off the diagonal
    np.testing.assert_array_equal(shrunk(c[:1, :1], 3), c[:1, :1])


@pytest.mark.parametrize("rank", [1, 2])
def test_shrinkage_makes_few_members_definite_in_any_units(dtype, rank):
    z = np.random.default_rng(0).normal(size=(rank + 1, 4))
    c = np.cov(z.T)
    units = np.array([1e6, 1.0, 1e-6, 1.0])
    plain = np.asarray(shrunk(jnp.asarray(c, dtype), rank + 1), float)
    scaled = np.asarray(shrunk(jnp.asarray(units[:, None] * c * units, dtype), rank + 1), float)
    assert np.linalg.eigvalsh(plain).min() > 0
    np.testing.assert_allclose(scaled / units / units[:, None], plain, rtol=1e-4)


def test_a_constant_coordinate_stays_alone():
    c = jnp.diag(jnp.array([1.0, 0.0, 2.0])).at[0, 2].set(0.5).at[2, 0].set(0.5)
    found = shrunk(c, 5)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[1], 0)


def test_gradients_are_finite_beside_a_lonely_member(dtype):
    """Around a member with no other near, the covariance is zero: its axes have no derivative."""
    x, h = (jnp.asarray(a, dtype) for a in clouds(12))
    x = x.at[0].set(100.0)

    def total(x):
        near = neighbourhoods(x, jnp.eye(3, dtype=dtype), h, jnp.asarray(0.5, dtype))
        return jnp.sum(near.cross**2) + jnp.sum(near.signal**2)

    assert np.isfinite(jax.jit(jax.grad(total))(x)).all()


def test_gradients_of_shrinkage_are_finite_with_a_constant_coordinate(dtype):
    c = jnp.diag(jnp.asarray([1, 0, 2], dtype)).at[0, 2].set(0.5).at[2, 0].set(0.5)
    assert np.isfinite(jax.grad(lambda c: jnp.sum(shrunk(c, 5)))(c)).all()


def test_gradients_of_shrinkage_are_finite_without_correlations(dtype):
    """Nothing is left to shrink: numerator over 0, cut off at 1."""
    c = jnp.diag(jnp.asarray([1, 3, 2], dtype))
    found = jax.grad(lambda c: jnp.sum(shrunk(c, 5)))(c)
    np.testing.assert_array_equal(found, np.eye(3))
