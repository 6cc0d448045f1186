r"""Functions of symmetric matrices, with derivatives that are finite at equal eigenvalues.

Eigenvectors of equal eigenvalues have no derivative, but a function of the matrix has one. With
A = V diag(l) V^T and f(A) = V diag(f(l)) V^T (Daleckii and Krein 1965; Higham 2008, Theorem 3.11),

    df(A) = V (F * V^T dA V) V^T,   F_ij = (f(l_i) - f(l_j)) / (l_i - l_j),   F_ii = f'(l_i).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array, Float
from .arrays import dot
from .linalg import eigh, row_svd


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def apply_spectral(
    functions: Callable[..., tuple[Array, ...]],
    a: Float[Array, "*b n n"],
    right: tuple[Array | None, ...],
    *parameters: Array,
) -> tuple[Array, ...]:
    """Return f_k(A) B_k, or tr f_k(A), for some functions of one matrix, by one decomposition.

    Args:
        functions: eigenvalues [*b n] and the parameters -> f_k of each eigenvalue, one for every
            entry of `right`.
        a: A, symmetric.
        right: matrices B_k [*b n k]; None for the trace of f_k(A) [*b].
        parameters: of `functions`, whatever broadcasts against the eigenvalues.
    """
    return _applied(_spectral(a, right), functions, parameters)


@apply_spectral.defjvp
def _tangents(functions: Callable, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    (a, right, *parameters), (da, moved, *shifts) = primals, tangents
    found = _spectral(a, right)
    out = _moved(found, functions, (da, moved), parameters, shifts)
    return _applied(found, functions, parameters), out


class Image(NamedTuple):
    """Stands for S times a matrix on the right of `apply_gram`, where n <= m.

    As a product it would have lost the digits of all but the largest singular values.
    """

    of: Float[Array, "m k"]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def apply_gram(
    functions: Callable[..., tuple[Array, ...]],
    s: Float[Array, "n m"],
    right: tuple[Array | Image | None, ...],
    *parameters: Array,
) -> tuple[Array, ...]:
    """Return the same for the smaller of A = S S^T and S^T S (the first where n = m).

    The eigenvalues are squares of singular values of S: small ones keep their digits beside large.

    Args:
        functions: as in `apply_spectral`.
        s: S.
        right: as in `apply_spectral`, or an `Image`.
        *parameters: of `functions`.
    """
    return _applied(_gram(s, right), functions, parameters)


@apply_gram.defjvp
def _gram_tangents(functions: Callable, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    (s, right, *parameters), (ds, moved, *shifts) = primals, tangents
    found = _gram(s, right)
    half = dot(ds.T, s) if s.shape[1] < s.shape[0] else dot(ds, s.T)
    moved = tuple(
        dot(ds, b.of) + dot(s, db.of) if isinstance(b, Image) else db
        for b, db in zip(right, moved, strict=True)
    )
    out = _moved(found, functions, (half + half.T, moved), parameters, shifts)
    return _applied(found, functions, parameters), out


class _Decomposed(NamedTuple):
    """A = V diag(l) V^T, and V^T B_k (None for a trace)."""

    values: Array
    vectors: Array
    turned: tuple


def _spectral(a: Array, right: tuple) -> _Decomposed:
    values, vectors = eigh(a)
    return _Decomposed(values, vectors, tuple(_across(vectors, b) for b in right))


def _gram(s: Array, right: tuple) -> _Decomposed:
    vectors, singular, image = row_svd(s.T if s.shape[1] < s.shape[0] else s)
    turned = tuple(dot(image, b.of) if isinstance(b, Image) else _across(vectors, b) for b in right)
    return _Decomposed(singular**2, vectors, turned)


def _applied(found: _Decomposed, functions: Callable, parameters: Any) -> tuple[Array, ...]:
    """Return V diag(f_k) V^T B_k, or the sum of f_k."""
    return tuple(
        jnp.sum(f, axis=-1) if c is None else dot(found.vectors, f[..., None] * c)
        for f, c in zip(functions(found.values, *parameters), found.turned, strict=True)
    )


def _moved(
    found: _Decomposed, functions: Callable, moved: tuple, parameters: Any, shifts: Any
) -> tuple[Array, ...]:
    """Return the tangent of what is applied, along those of A and of the B_k, and of parameters."""
    values, vectors, turned = found
    da, right = moved
    f, slopes = jax.jvp(lambda v: functions(v, *parameters), (values,), (jnp.ones_like(values),))
    change = dot(_across(vectors, da), vectors)
    _, df = jax.jvp(lambda *p: functions(values, *p), tuple(parameters), tuple(shifts))
    out = []
    for value, slope, shift, c, db in zip(f, slopes, df, turned, right, strict=True):
        if c is None:
            diagonal = jnp.diagonal(change, axis1=-2, axis2=-1)
            out.append(jnp.sum(slope * diagonal + shift, axis=-1))
            continue
        inner = dot(_divided_differences(values, value, slope) * change, c) + shift[..., None] * c
        out.append(dot(vectors, inner + value[..., None] * _across(vectors, db)))
    return tuple(out)


def _across(vectors: Array, b: Array | None) -> Any:
    """Return V^T B."""
    return None if b is None else dot(jnp.swapaxes(vectors, -1, -2), b)


def _divided_differences(values: Array, f: Array, slope: Array) -> Float[Array, "*b n n"]:
    """Return F; for close eigenvalues the mean of both slopes, which differs by O(gap^2)."""
    gap = values[..., :, None] - values[..., None, :]
    size = jnp.abs(values)[..., :, None] + jnp.abs(values)[..., None, :]
    eps = jnp.finfo(values.dtype).eps
    # beyond the rounding of eigenvalues; there that of the difference costs what curvature does
    rounding = 4 * eps * jnp.max(jnp.abs(values), axis=-1)[..., None, None]
    close = jnp.abs(gap) <= rounding + eps ** (1 / 3) * size
    secant = (f[..., :, None] - f[..., None, :]) / jnp.where(close, 1, gap)
    return jnp.where(close, 0.5 * (slope[..., :, None] + slope[..., None, :]), secant)
