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
from .linalg import eigh, svd


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
    values, vectors = eigh(a)
    return _applied(vectors, functions(values, *parameters), right)


@apply_spectral.defjvp
def _tangents(functions: Callable, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    values, vectors = eigh(primals[0])
    return _moved(functions, values, vectors, tangents[0], primals[1:], tangents[1:])


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
    left, singular, cross = svd(s)
    vectors = cross.T if s.shape[1] < s.shape[0] else left
    turned = tuple(
        singular[:, None] * dot(cross, b.of) if isinstance(b, Image) else _across(vectors, b)
        for b in right
    )
    return _outward(vectors, functions(singular**2, *parameters), turned)


@apply_gram.defjvp
def _gram_tangents(functions: Callable, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    (s, right, *parameters), (ds, moved, *shifts) = primals, tangents
    left, singular, cross = svd(s)
    narrow = s.shape[1] < s.shape[0]
    half = dot(ds.T, s) if narrow else dot(ds, s.T)
    pairs = [
        (dot(s, b.of), dot(ds, b.of) + dot(s, db.of)) if isinstance(b, Image) else (b, db)
        for b, db in zip(right, moved, strict=True)
    ]
    right, moved = zip(*pairs, strict=True)
    vectors = cross.T if narrow else left
    others, shifted = (right, *parameters), (moved, *shifts)
    _, out = _moved(functions, singular**2, vectors, half + half.T, others, shifted)
    return apply_gram(functions, *primals), out


def _moved(
    functions: Callable, values: Array, vectors: Array, da: Array, others: tuple, tangents: tuple
) -> tuple[tuple, tuple]:
    """Return what is applied, and its tangent along that of A, of B_k and of the parameters."""
    right, *parameters = others
    moved, *shifts = tangents
    f, slopes = jax.jvp(lambda v: functions(v, *parameters), (values,), (jnp.ones_like(values),))
    change = dot(_across(vectors, da), vectors)
    _, df = jax.jvp(lambda *p: functions(values, *p), tuple(parameters), tuple(shifts))
    out = []
    for value, slope, shift, b, db in zip(f, slopes, df, right, moved, strict=True):
        if b is None:
            diagonal = jnp.diagonal(change, axis1=-2, axis2=-1)
            out.append(jnp.sum(slope * diagonal + shift, axis=-1))
            continue
        turned = dot(_divided_differences(values, value, slope) * change, _across(vectors, b))
        turned = turned + shift[..., None] * _across(vectors, b)
        out.append(dot(vectors, turned + value[..., None] * _across(vectors, db)))
    return _applied(vectors, f, right), tuple(out)


def _applied(vectors: Array, functions: tuple, right: tuple) -> tuple[Array, ...]:
    """Return V diag(f_k) V^T B_k, or the sum of f_k."""
    return _outward(vectors, functions, tuple(_across(vectors, b) for b in right))


def _outward(vectors: Array, functions: tuple, turned: tuple) -> tuple[Array, ...]:
    """Return V diag(f_k) C_k, or the sum of f_k."""
    return tuple(
        jnp.sum(f, axis=-1) if c is None else dot(vectors, f[..., None] * c)
        for f, c in zip(functions, turned, strict=True)
    )


def _across(vectors: Array, b: Any) -> Any:
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
