"""Triangular roots of covariances, and solves by them, with floors at the level of rounding."""

from __future__ import annotations

import jax.numpy as jnp

from .._typing import Array, Float
from .arrays import safe_sqrt
from .linalg import cho_solve, cholesky


def floored_root(covariance: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Return the lower root, with a floor of rounding under constant coordinates."""
    d, eps = covariance.shape[0], jnp.finfo(covariance.dtype).eps
    variance = jnp.maximum(jnp.diagonal(covariance), 0)
    varies = variance > 0
    # a constant has no unit of its own: rounding of the smallest of the others
    smallest = jnp.min(jnp.where(varies, variance, jnp.inf))
    smallest = jnp.where(jnp.isfinite(smallest), eps**2 * smallest, 0)
    least = jnp.maximum(smallest, jnp.finfo(covariance.dtype).tiny / eps)
    floor = jnp.where(varies, 4 * d * eps * variance, least)
    std = jnp.sqrt(variance + floor)
    correlation = covariance / (std[:, None] * std[None, :])
    correlation = correlation + 8 * d * eps * jnp.eye(d, dtype=covariance.dtype)
    return std[:, None] * cholesky(correlation)


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
