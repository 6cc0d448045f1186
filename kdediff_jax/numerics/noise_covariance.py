r"""R of a measurement in either of its forms: a matrix [m m], or its diagonal [m] alone.

Independent errors are the rule, and a million of them have no matrix.
"""

from __future__ import annotations

import jax.numpy as jnp

from .._typing import Array, Bool, Float
from .linalg import cholesky, solve_lower


def as_matrix(covariance: Float[Array, "m *m"]) -> Float[Array, "m m"]:
    """Return R as a matrix."""
    return jnp.diag(covariance) if covariance.ndim == 1 else covariance


def variances(covariance: Float[Array, "m *m"]) -> Float[Array, " m"]:
    """Return the diagonal of R."""
    return covariance if covariance.ndim == 1 else jnp.diagonal(covariance)


def covariance_in_units(covariance: Float[Array, "m *m"], units: Float[Array, " m"]) -> Array:
    """Return R of a measurement expressed in other units, in the form it has."""
    # one after the other: the square of a small unit is no number
    if covariance.ndim == 1:
        return covariance / units / units
    return covariance / units[None] / units[:, None]


def masked_covariance(
    covariance: Float[Array, "m *m"], measured: Bool[Array, " m"]
) -> Float[Array, "m *m"]:
    """Return R with missing components cut off and given unit variance, in the form it has."""
    if covariance.ndim == 1:
        return jnp.where(measured, covariance, 1)
    both = measured[:, None] & measured[None, :]
    missing = jnp.where(measured, 0, 1).astype(covariance.dtype)
    return jnp.where(both, covariance, 0) + jnp.diag(missing)


def whitened(rows: Float[Array, "n m"], covariance: Float[Array, "m *m"]) -> Float[Array, "n m"]:
    """Return rows L^{-T}, R = L L^T: errors of covariance R become independent, of variance 1."""
    if covariance.ndim == 1:
        return rows / jnp.sqrt(covariance)[None]
    return solve_lower(cholesky(covariance), rows.T).T
