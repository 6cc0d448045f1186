"""Decompositions by rotations against NumPy's in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax.numerics import jacobi, linalg

SHAPES = ((1, 1), (1, 5), (2, 2), (3, 7), (5, 5), (17, 40), (40, 40), (12, 5))


def graded(rng, n, m, dtype):
    """Rows from 1 down to ten times the rounding: their singular values keep their digits."""
    lowest = np.log10(10 * np.finfo(dtype).eps)
    return np.diag(10 ** np.linspace(0, lowest, n)) @ rng.normal(size=(n, m))


KINDS = {
    "normal": lambda rng, n, m, dtype: rng.normal(size=(n, m)),
    "mean removed": lambda rng, n, m, dtype: (lambda a: a - a.mean(axis=0))(
        rng.normal(size=(n, m))
    ),
    "graded": graded,
    "equal values": lambda rng, n, m, dtype: np.eye(n, m),
    "zero": lambda rng, n, m, dtype: np.zeros((n, m)),
    "huge": lambda rng, n, m, dtype: 1e30 * rng.normal(size=(n, m)),
    "tiny": lambda rng, n, m, dtype: 1e-30 * rng.normal(size=(n, m)),
}


def close(found, wanted, scale, dtype):
    assert np.abs(found - wanted).max() <= 60 * np.finfo(dtype).eps * scale


@pytest.mark.parametrize("kind", KINDS)
def test_singular_values_and_vectors(dtype, kind):
    for number, (n, m) in enumerate(SHAPES):
        a = KINDS[kind](np.random.default_rng(number), n, m, dtype).astype(dtype)
        u, s, turned = jax.jit(jacobi.jacobi_svd)(a)
        assert u.dtype == s.dtype == turned.dtype == dtype and np.all(np.diff(s) <= 0)
        u, s, turned, exact = (np.asarray(x, float) for x in (u, s, turned, a))
        wanted = np.zeros(n)
        wanted[: min(n, m)] = np.linalg.svd(exact, compute_uv=False)
        close(s, wanted, wanted[0], dtype)
        close(u.T @ u, np.eye(n), 1, dtype)
        close(u.T @ exact, turned, wanted[0], dtype)
        close(turned @ turned.T, np.diag(s**2), wanted[0] ** 2, dtype)
        if kind == "graded" and n <= m:
            assert np.abs(s / wanted - 1).max() <= 300 * np.finfo(dtype).eps


def test_one_bad_matrix_of_a_stack_spoils_no_other(dtype):
    stack = np.random.default_rng(0).normal(size=(5, 6, 9)).astype(dtype)
    bad = stack.copy()
    bad[1, 2, 3], bad[3, 0, 0] = np.nan, np.inf
    svd = jax.jit(jax.vmap(jacobi.jacobi_svd))
    for found, wanted in zip(svd(bad), svd(stack), strict=True):
        np.testing.assert_array_equal(found[::2], wanted[::2])
        assert np.isnan(found[1]).all() and np.isnan(found[3]).all()


@pytest.mark.parametrize(("stack", "rotated"), [((8, 20, 40), True), ((20, 40), False)])
def test_stacks_of_larger_matrices_on_a_gpu_are_rotated(stack, rotated):
    traced = jax.jit(linalg.row_svd).trace(jax.ShapeDtypeStruct(stack, jnp.float32))
    on_gpu = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert ("solver" in on_gpu) != rotated and ("while" in on_gpu) == rotated
    assert "lapack" in traced.lower(lowering_platforms=("cpu",)).as_text()
