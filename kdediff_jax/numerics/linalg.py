r"""Decompositions of stacks: safe for XLA's threads on the CPU, all at once on a GPU.

jaxlib before 0.11.2 shares a large stack out over the CPU's thread pool and waits for it on one
of the pool's own threads. As many such calls at once as there are threads (two independent ones on
two cores, or one on each device of a sweep) wait for each other for ever. A stack that costs less
than a bound of jaxlib's is decomposed on the spot, so there a larger one is taken in parts below
it. Later releases get the whole stack. Under `vmap` stacks are merged first.

On a GPU the library takes larger matrices one after the other to find singular values, so there
stacks of them are decomposed by rotations (`jacobi`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib.version
from jax import lax
from jax.custom_batching import custom_vmap

from .._typing import Array, Float
from .arrays import dot
from .batches import in_batches
from .jacobi import jacobi_svd

WAITS = tuple(int(part) for part in jaxlib.version.__version__.split(".")[:3]) < (0, 11, 2)
AT_ONCE = 100_000  # operations; jaxlib waits from 200,000 by its own count, which ours exceeds
# smaller stacks or matrices the GPU's library decomposes faster (benchmarks/speed/decompositions)
FEWEST_ROTATED, LARGEST_OF_LIBRARY = 4, 32


def eigh(a: Float[Array, "*b n n"]) -> tuple[Float[Array, "*b n"], Float[Array, "*b n n"]]:
    """Return eigenvalues in ascending order and eigenvectors (columns) of symmetric matrices."""
    return _eigh(a)


def cholesky(a: Float[Array, "*b n n"]) -> Float[Array, "*b n n"]:
    """Return the lower Cholesky root L, L L^T = a; NaN where a is not positive definite."""
    return _cholesky(a)


def triangular_root(rows: Float[Array, "*b r n"]) -> Float[Array, "*b n n"]:
    """Return the lower L with L L^T = rows^T rows, by QR: no square of the rows costs digits.

    Where rows^T rows is a prior covariance and the noise below it, L holds the posterior's root
    (the array form of the Kalman update, Kailath, Sayed and Hassibi 2000, Section 12.3).

    Args:
        rows: at least as many as columns.
    """
    return _triangular_root(rows)


def row_svd(a: Float[Array, "*b n m"]) -> tuple[Array, Array, Array]:
    """Return U [n n], s [n] and U^T a = diag(s) V^T [n m], n <= m. It has no derivative."""
    return _svd_values(a)


def solve(a: Float[Array, "*b n n"], b: Float[Array, "*b n k"]) -> Float[Array, "*b n k"]:
    """Return a^{-1} b."""
    return lax.custom_linear_solve(
        lambda x: dot(a, x),
        b,
        lambda _, b: _solve(a, b),
        lambda _, b: _solve(_transpose(a), b),
    )


def solve_lower(root: Float[Array, "*b n n"], b: Float[Array, "*b n k"]) -> Float[Array, "*b n k"]:
    """Return L^{-1} b for a lower triangular L; entries above its diagonal are not read."""
    return lax.custom_linear_solve(
        lambda x: dot(jnp.tril(root), x),
        b,
        lambda _, b: _forward(root, b),
        lambda _, b: _backward(root, b),
    )


def cho_solve(root: Float[Array, "*b n n"], b: Float[Array, "*b n k"]) -> Float[Array, "*b n k"]:
    """Return (L L^T)^{-1} b."""
    half = solve_lower(root, b)
    return lax.custom_linear_solve(
        lambda x: dot(_transpose(jnp.tril(root)), x),
        half,
        lambda _, b: _backward(root, b),
        lambda _, b: _forward(root, b),
    )


def _in_parts(
    function: Callable, cost: Callable[..., int], rotations: Callable | None = None
) -> Callable:
    """Return `function` of matrices for stacks of them.

    Args:
        function: of one matrix.
        cost: counts its operations.
        rotations: the same function by rotations, for stacks of larger matrices on a GPU.
    """

    @custom_vmap
    def stack(*args: Array) -> Any:
        size, part = args[0].shape[0], max(1, AT_ONCE // cost(*args))
        whole = jax.vmap(function)
        special = {}
        if WAITS and size > part:
            special["cpu"] = lambda *args: in_batches(lambda a: function(*a), args, part)
        large = size >= FEWEST_ROTATED and max(args[0].shape[1:]) > LARGEST_OF_LIBRARY
        if rotations is not None and large:
            special["cuda"] = jax.vmap(rotations)
        return lax.platform_dependent(*args, **special, default=whole) if special else whole(*args)

    @stack.def_vmap
    def merge(size: int, batched: Any, *args: Array) -> tuple[Any, Any]:
        args = tuple(
            a if b else jnp.broadcast_to(a, (size, *a.shape))
            for a, b in zip(args, batched, strict=True)
        )
        out = stack(*(a.reshape(-1, *a.shape[2:]) for a in args))
        out = jax.tree.map(lambda o: o.reshape(size, -1, *o.shape[1:]), out)
        return out, jax.tree.map(lambda _: True, out)

    def of_any_shape(*args: Array) -> Any:
        leading = jnp.broadcast_shapes(*(a.shape[:-2] for a in args))
        args = tuple(jnp.broadcast_to(a, (*leading, *a.shape[-2:])) for a in args)
        out = stack(*(a.reshape(-1, *a.shape[-2:]) for a in args))
        return jax.tree.map(lambda o: o.reshape(*leading, *o.shape[1:]), out)

    return of_any_shape


def _transpose(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)


def _triangular(transposed: bool) -> Callable:
    def one(root, b):
        return lax.linalg.triangular_solve(
            root, b, left_side=True, lower=True, transpose_a=transposed
        )

    return _in_parts(one, lambda root, b: root.shape[-1] ** 2 * max(b.shape[-2:]))


_forward, _backward = _triangular(False), _triangular(True)
_solve = _in_parts(jnp.linalg.solve, lambda a, b: a.shape[-1] ** 2 * sum(b.shape[-2:]))
_eigh_values = _in_parts(jnp.linalg.eigh, lambda a: 5 * a.shape[-1] ** 3)
_cholesky_values = _in_parts(jnp.linalg.cholesky, lambda a: a.shape[-1] ** 3)


def _library_svd(a: Array) -> tuple[Array, Array, Array]:
    # LAPACK looks for the singular values of some infinite matrices for ever, of NaN never
    a = jnp.where(jnp.isfinite(a), a, jnp.nan)
    left, values, right = jnp.linalg.svd(a, full_matrices=False)
    return left, values, values[:, None] * right


_svd_values = _in_parts(_library_svd, lambda a: 10 * a.shape[-2] ** 2 * a.shape[-1], jacobi_svd)


def _qr_root(rows: Array) -> Array:
    upper = jnp.linalg.qr(rows, mode="r")
    sign = jnp.where(jnp.diagonal(upper) < 0, -1, 1).astype(rows.dtype)
    return (sign[:, None] * upper).T


_root_values = _in_parts(_qr_root, lambda a: 2 * a.shape[-2] * a.shape[-1] ** 2)


@jax.custom_jvp
def _triangular_root(rows: Array) -> Array:
    return _root_values(rows)


@_triangular_root.defjvp
def _triangular_root_tangent(primals: tuple, tangents: tuple) -> tuple:
    # that of Cholesky, with L^{-1} rows^T orthogonal in place of a product of the rows
    root = _triangular_root(primals[0])
    # a column of zeros follows its tangent along the others; its own length has no derivative
    none = jnp.eye(root.shape[-1], dtype=bool) & (root == 0)
    filled = jnp.where(none, 1, root)
    orthogonal, moved = (solve_lower(filled, _transpose(a)) for a in (primals[0], tangents[0]))
    half = dot(orthogonal, _transpose(moved))
    return root, dot(filled, _lower_half(half + _transpose(half)))


def _lower_half(a: Array) -> Array:
    """Return the lower triangle, its diagonal halved."""
    unit = jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)
    return jnp.tril(a) * (1 - 0.5 * unit)


@jax.custom_jvp
def _eigh(a: Array) -> tuple[Array, Array]:
    values, vectors = _eigh_values(a)
    return values, vectors


@_eigh.defjvp
def _eigh_tangent(primals: tuple, tangents: tuple) -> tuple:
    # Giles 2008, 3.1: dl = diag(V^T dA V), dV = V (F * V^T dA V), F_ij = 1 / (l_j - l_i). Vectors
    # of equal eigenvalues have no derivative: none is given (`apply_spectral` has the right one)
    values, vectors = _eigh(*primals)
    change = dot(_transpose(vectors), dot(_symmetric(tangents[0]), vectors))
    gap = values[..., None, :] - values[..., :, None]
    rounding = 4 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values), axis=-1)
    equal = jnp.abs(gap) <= rounding[..., None, None]
    turned = dot(vectors, jnp.where(equal, 0, 1 / jnp.where(equal, 1, gap)) * change)
    return (values, vectors), (jnp.diagonal(change, axis1=-2, axis2=-1), turned)


@jax.custom_jvp
def _cholesky(a: Array) -> Array:
    return _cholesky_values(a)


@_cholesky.defjvp
def _cholesky_tangent(primals: tuple, tangents: tuple) -> tuple:
    # Giles 2008, 4.1 (Murray 2016): dL = L Phi(L^{-1} dA L^{-T}), Phi: lower half, diagonal halved
    root = _cholesky(*primals)
    half = solve_lower(root, _symmetric(tangents[0]))
    inner = _transpose(solve_lower(root, _transpose(half)))
    return root, dot(root, _lower_half(inner))


def _symmetric(a: Array) -> Array:
    return 0.5 * (a + _transpose(a))
