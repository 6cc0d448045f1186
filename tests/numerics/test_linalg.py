"""The decompositions against NumPy and JAX's own, in parts too, with their derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax.numerics import linalg


def matrices(dtype, *shape, n=4):
    z = np.random.default_rng(3).normal(size=(*shape, n, n))
    return jnp.asarray(z @ np.swapaxes(z, -1, -2) + 0.1 * np.eye(n), dtype)


def right(dtype, *shape, n=4, k=3):
    return jnp.asarray(np.random.default_rng(5).normal(size=(*shape, n, k)), dtype)


def lower(a):
    return jnp.tril(a) + jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)


def rebuilt(a):
    """What no sign or order of eigenvectors changes."""
    values, vectors = linalg.eigh(a)
    return values, jnp.matmul(
        vectors * jnp.exp(values)[..., None, :], jnp.swapaxes(vectors, -1, -2)
    )


def rebuilt_plainly(a):
    values, vectors = jnp.linalg.eigh(a)
    return values, jnp.matmul(
        vectors * jnp.exp(values)[..., None, :], jnp.swapaxes(vectors, -1, -2)
    )


FUNCTIONS = {
    "eigh": (lambda a, b: rebuilt(a), lambda a, b: rebuilt_plainly(a)),
    "cholesky": (lambda a, b: linalg.cholesky(a), lambda a, b: jnp.linalg.cholesky(a)),
    "solve": (linalg.solve, jnp.linalg.solve),
    "solve_lower": (
        lambda a, b: linalg.solve_lower(lower(a), b),
        lambda a, b: jnp.linalg.solve(lower(a), b),
    ),
    "cho_solve": (
        lambda a, b: linalg.cho_solve(lower(a), b),
        lambda a, b: jnp.linalg.solve(lower(a) @ jnp.swapaxes(lower(a), -1, -2), b),
    ),
}
pairs = pytest.mark.parametrize(("ours", "plain"), FUNCTIONS.values(), ids=FUNCTIONS)


@pytest.fixture(params=["whole", "parts"])
def taken(request, monkeypatch):
    """Whole stacks, or parts of one to seven matrices."""
    monkeypatch.setattr(linalg, "WAITS", request.param == "parts")
    monkeypatch.setattr(linalg, "AT_ONCE", 500)


@pairs
def test_stacks_of_any_shape(dtype, taken, ours, plain):
    for shape in ((), (1,), (11,), (2, 5)):
        a, b = matrices(dtype, *shape), right(dtype, *shape)
        for x, y in zip(jax.tree.leaves(ours(a, b)), jax.tree.leaves(plain(a, b)), strict=True):
            assert x.dtype == dtype and x.shape == y.shape
            tolerance = 1e-10 if dtype == jnp.float64 else 2e-3
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


@pairs
def test_maps_of_maps_are_one_stack(x64, taken, ours, plain):
    a, b = matrices(x64, 3, 5), right(x64, 5)
    mapped = jax.jit(jax.vmap(jax.vmap(ours), in_axes=(0, None)))(a, b)
    each = [[plain(a[i, j], b[j]) for j in range(5)] for i in range(3)]
    for number, leaf in enumerate(jax.tree.leaves(mapped)):
        wanted = [[jax.tree.leaves(one)[number] for one in row] for row in each]
        np.testing.assert_allclose(leaf, np.array(wanted), rtol=1e-9, atol=1e-10)


@pairs
def test_derivatives_of_both_modes_and_both_orders(x64, taken, ours, plain):
    a, b = matrices(x64, 2), right(x64, 2, k=1)

    def total(function):
        def of(a, b):
            out = function(0.5 * (a + jnp.swapaxes(a, -1, -2)), b)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(out))

        return of

    for transform in (jax.jacfwd, jax.jacrev, jax.hessian):
        found, wanted = (
            jax.tree.leaves(jax.jit(transform(total(f), argnums=(0, 1)))(a, b))
            for f in (ours, plain)
        )
        for x, y in zip(found, wanted, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-8 * float(jnp.abs(y).max()))


def test_not_definite_gives_nan_as_lapack_does(taken):
    a = jnp.stack([jnp.eye(2), -jnp.eye(2)])
    root = linalg.cholesky(a)
    assert np.isfinite(root[0]).all() and np.isnan(root[1]).any()


def calls(text):
    """The leading dimension and name of every LAPACK call in a compiled program."""
    lines = [line for line in text.splitlines() if "lapack_" in line or "blas_" in line]
    return [line.split("=")[1] for line in lines]


def test_the_singular_values_of_an_infinity_are_nan(x64):
    """LAPACK looks for them for ever."""
    rows = np.random.default_rng(0).normal(size=(8, 12))
    rows[3] = np.inf
    assert all(np.isnan(each).all() for each in jax.jit(linalg.row_svd)(jnp.asarray(rows)))


def test_no_call_is_large_enough_to_wait(monkeypatch):
    monkeypatch.setattr(linalg, "WAITS", True)
    a = jnp.broadcast_to(jnp.eye(30), (64, 30, 30))
    text = jax.jit(jax.vmap(rebuilt)).lower(a).compile().as_text()
    found = calls(text)
    assert found and all("[1,30,30]" in call for call in found), found
    monkeypatch.setattr(linalg, "WAITS", False)
    jax.clear_caches()  # a nested jit may be kept as it was traced above
    whole = calls(jax.jit(lambda a: rebuilt(a)).lower(a).compile().as_text())
    assert whole and all("[64,30,30]" in call for call in whole), whole


def test_the_root_of_rows_is_the_root_of_their_product(dtype):
    rows = np.random.default_rng(6).normal(size=(3, 7, 4)).astype(dtype)
    root = np.asarray(jax.jit(linalg.triangular_root)(jnp.asarray(rows)))
    assert root.dtype == dtype and np.all(np.triu(root, 1) == 0)
    assert np.all(np.diagonal(root, axis1=1, axis2=2) > 0)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    product = np.swapaxes(rows, 1, 2) @ rows
    np.testing.assert_allclose(root @ np.swapaxes(root, 1, 2), product, atol=20 * tolerance)


def test_the_derivative_of_the_root_of_rows_is_that_of_cholesky(x64):
    rows = jnp.asarray(np.random.default_rng(6).normal(size=(7, 4)))

    def of_rows(rows):
        return jnp.sum(jnp.sin(linalg.triangular_root(rows)))

    def of_product(rows):
        return jnp.sum(jnp.sin(linalg.cholesky(rows.T @ rows)))

    np.testing.assert_allclose(jax.grad(of_rows)(rows), jax.grad(of_product)(rows), atol=1e-9)


def test_the_root_of_rows_has_a_derivative_beside_a_column_of_zeros(x64):
    rng = np.random.default_rng(6)
    rows, moved = rng.normal(size=(2, 7, 4))
    rows[:, 2] = 0
    root, found = jax.jvp(linalg.triangular_root, (jnp.asarray(rows),), (jnp.asarray(moved),))
    step, known = 1e-6, ~np.eye(4, dtype=bool)  # the length of the zeros has no derivative
    known[3] = False  # nor a direction to follow, which the last column would
    ahead, behind = (linalg.triangular_root(jnp.asarray(rows + s * moved)) for s in (step, -step))
    differences = np.asarray(ahead - behind) / (2 * step)
    np.testing.assert_allclose(np.asarray(found)[known], differences[known], atol=1e-7)
    assert root[2, 2] == 0 and np.isfinite(found).all()
