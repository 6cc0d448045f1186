"""Triangular roots of covariances, and solves by them, with floors at the level of rounding."""

from __future__ import annotations

import jax.numpy as jnp

from .._typing import Array, Float
from .arrays import safe_sqrt
from .linalg import cho_solve, cholesky, triangular_root


def floored_root(covariance: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Return the lower root, with a floor of rounding under constant coordinates."""
    d, eps = covariance.shape[0], jnp.finfo(covariance.dtype).eps
    variance = jnp.maximum(jnp.diagonal(covariance), 0)
    floor = _floor(variance, float(4 * d * eps))
    std = jnp.sqrt(variance + floor)
    correlation = covariance / (std[:, None] * std[None, :])
    correlation = correlation + 8 * d * eps * jnp.eye(d, dtype=covariance.dtype)
    return std[:, None] * cholesky(correlation)


def root_of_rows(
    rows: Float[Array, "r d"], added: Float[Array, " d"] | float = 0.0
) -> Float[Array, "d d"]:
    """Return the lower root of rows^T rows + diag(added), with a floor of rounding.

    Without squares of the rows, directions of a hundred-thousandth of the largest keep digits.

    Args:
        rows: such as anomalies over sqrt(n - 1); any number of them.
        added: variances.
    """
    d, eps = rows.shape[1], jnp.finfo(rows.dtype).eps
    variance = jnp.sum(rows**2, axis=0)
    # a direction that the rows do not have is noise of rounding in them: 64 times smaller than 1
    std = safe_sqrt(added + _floor(variance, float(d * (64 * eps) ** 2)))
    return triangular_root(jnp.concatenate([rows, jnp.diag(std)]))


def _floor(variance: Float[Array, " d"], relative: float) -> Float[Array, " d"]:
    """Return a part of every variance; for a constant the rounding of the smallest of the others.

    A constant has no unit of its own.
    """
    eps, tiny = jnp.finfo(variance.dtype).eps, jnp.finfo(variance.dtype).tiny
    smallest = jnp.min(jnp.where(variance > 0, variance, jnp.inf))
    smallest = jnp.where(jnp.isfinite(smallest), eps**2 * smallest, 0)
    return jnp.where(variance > 0, relative * variance, jnp.maximum(smallest, tiny / eps))


def solve_positive(s: Float[Array, "*b m m"], b: Float[Array, "*b m k"]) -> Float[Array, "*b m k"]:
    """Return S^{-1} b for a positive definite S, whatever the units of its components.

    S is scaled to unit diagonal first, so that units decide nothing, and a few roundings are added
    to that diagonal, so that a factor exists where S is definite but for rounding.
    """
    m = s.shape[-1]
    std = safe_sqrt(jnp.diagonal(s, axis1=-2, axis2=-1), otherwise=1.0)
    correlation = s / (std[..., :, None] * std[..., None, :])
    floor = m * jnp.finfo(s.dtype).eps
    unit = jnp.broadcast_to(jnp.eye(m, dtype=s.dtype), s.shape)
    return cho_solve(cholesky(correlation + floor * unit), b / std[..., None]) / std[..., None]
