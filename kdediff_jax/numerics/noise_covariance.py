r"""R of a measurement in any of its forms: a matrix [m m], its diagonal [m], or blocks [b s s].

Independent errors are the rule, and a million of them have no matrix. Blocks are those of s
components each that follow each other, m = b s; between blocks errors are independent.
"""

from __future__ import annotations

import jax.numpy as jnp

from .._typing import Array, Bool, Float
from .arrays import dot
from .linalg import cholesky, solve_lower


def in_form_of(
    covariance: Float[Array, "m *m"], variances: Float[Array, " m"]
) -> Float[Array, "m *m"]:
    """Return independent errors of some variances, in the form that a covariance has."""
    if covariance.ndim == 1:
        return variances
    unit = jnp.eye(covariance.shape[-1], dtype=covariance.dtype)
    return variances.reshape(covariance.shape[:-1])[..., None] * unit


def variances(covariance: Float[Array, "m *m"]) -> Float[Array, " m"]:
    """Return the diagonal of R."""
    if covariance.ndim == 1:
        return covariance
    return jnp.diagonal(covariance, axis1=-2, axis2=-1).reshape(-1)


def covariance_in_units(covariance: Float[Array, "m *m"], units: Float[Array, " m"]) -> Array:
    """Return R of a measurement expressed in other units, in the form it has."""
    # one after the other: the square of a small unit is no number
    if covariance.ndim == 1:
        return covariance / units / units
    units = units.reshape(covariance.shape[:-1])
    return covariance / units[..., None, :] / units[..., :, None]


def masked_covariance(
    covariance: Float[Array, "m *m"], measured: Bool[Array, " m"]
) -> Float[Array, "m *m"]:
    """Return R with missing components cut off and given unit variance, in the form it has."""
    if covariance.ndim == 1:
        return jnp.where(measured, covariance, 1)
    measured = measured.reshape(covariance.shape[:-1])
    both = measured[..., :, None] & measured[..., None, :]
    missing = jnp.where(measured, 0, 1).astype(covariance.dtype)
    unit = jnp.broadcast_to(jnp.eye(covariance.shape[-1], dtype=covariance.dtype), covariance.shape)
    return jnp.where(both, covariance, 0) + missing[..., None] * unit


def whitened(rows: Float[Array, "n m"], covariance: Float[Array, "m *m"]) -> Float[Array, "n m"]:
    """Return rows L^{-T}, R = L L^T: errors of covariance R become independent, of variance 1."""
    if covariance.ndim == 1:
        return rows / jnp.sqrt(covariance)[None]
    columns = rows.T.reshape(*covariance.shape[:-1], -1)
    return solve_lower(cholesky(covariance), columns).reshape(rows.shape[::-1]).T


def mixed(rows: Float[Array, "n m"], factor: Float[Array, "m *m"]) -> Float[Array, "n m"]:
    """Return rows times a symmetric factor in the form of a matrix or of blocks."""
    columns = rows.T.reshape(*factor.shape[:-1], -1)
    return dot(factor, columns).reshape(rows.shape[::-1]).T
