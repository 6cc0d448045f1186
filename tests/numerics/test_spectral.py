"""Functions of symmetric matrices against SciPy, and their derivatives against differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdediff_jax.numerics import Image, apply_gram, apply_spectral

SPECTRA = {
    "distinct": [0.5, 1.0, 2.0, 4.0],
    "equal": [2.0, 2.0, 2.0, 2.0],
    "singular": [0.0, 0.0, 1.0, 3.0],
    "close": [1.0, 1 + 1e-12, 1 + 1e-7, 2.0],
}


def matrix(values, dtype="float64"):
    q = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    return jnp.asarray((q * np.asarray(values)) @ q.T, dtype)


def functions(values, power):
    return (1 + values) ** power, jnp.exp(-values * power), values / (power + values)


def applied(a, right, power):
    return apply_spectral(functions, a, (right, right[:, :1], None), power)


def right(dtype="float64"):
    return jnp.asarray(np.random.default_rng(2).normal(size=(4, 2)), dtype)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_values_are_those_of_the_decomposition(dtype, spectrum):
    a, b, power = matrix(SPECTRA[spectrum], dtype), right(dtype), jnp.asarray(0.7, dtype)
    values, vectors = np.linalg.eigh(np.asarray(a, float))
    f, g, h = (np.asarray(v) for v in functions(values, 0.7))
    first, second, trace = jax.jit(applied)(a, b, power)
    assert first.dtype == second.dtype == trace.dtype == dtype
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    wanted = (vectors * f) @ vectors.T @ b, (vectors * g) @ vectors.T @ b[:, :1], h.sum()
    for one, other in zip((first, second, trace), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_derivatives_are_those_of_differences(x64, spectrum):
    """Of the matrix, of what it is applied to, and of the parameter; under vmap too."""

    def total(change, b, power):
        a = matrix(SPECTRA[spectrum]) + change + change.T
        first, second, trace = jax.vmap(lambda p: applied(a, b, p))(jnp.stack([power, 2 * power]))
        return jnp.sum(jnp.sin(first)) + jnp.sum(second**2) + jnp.sum(trace)

    arguments = jnp.zeros((4, 4)), right(), jnp.asarray(0.7)
    check_grads(jax.jit(total), arguments, order=1, modes=("fwd", "rev"), eps=1e-6, rtol=1e-5)


@pytest.mark.parametrize("spectrum", ["distinct", "equal"])
def test_derivatives_of_entire_functions_are_those_of_power_series(x64, spectrum):
    """The square of a matrix by its eigenvalues, and by a product."""
    a, b = matrix(SPECTRA[spectrum]), right()

    def by_values(a):
        return jnp.sum(jnp.sin(apply_spectral(lambda v: (v**2,), a, (b,))[0]))

    def by_product(a):
        return jnp.sum(jnp.sin(a @ a @ b))

    got, wanted = jax.grad(by_values)(a), jax.grad(by_product)(a)
    np.testing.assert_allclose(got + got.T, wanted + wanted.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4)])
def test_of_a_gram_matrix_it_is_the_same(x64, shape):
    """Values and derivatives, S times a matrix as a product and by its name."""
    rng = np.random.default_rng(4)
    s, power = jnp.asarray(rng.normal(size=shape)), jnp.asarray(0.7)
    n, m = shape
    b, e = (jnp.asarray(rng.normal(size=(k, 2))) for k in (min(shape), m))

    def by_gram(s, b, e):
        image = b if m < n else Image(e)
        return apply_gram(functions, s, (b, image, None), power)

    def by_product(s, b, e):
        a, image = (s.T @ s, b) if m < n else (s @ s.T, s @ e)
        return apply_spectral(functions, a, (b, image, None), power)

    def total(f):
        return lambda *args: sum(jnp.sum(jnp.sin(x)) for x in f(*args))

    for one, other in zip(by_gram(s, b, e), by_product(s, b, e), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    slopes = (jax.grad(total(f), argnums=(0, 1, 2))(s, b, e) for f in (by_gram, by_product))
    for one, other in zip(*slopes, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)
