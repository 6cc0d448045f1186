r"""R of a measurement in any of its forms: a matrix [m m], its diagonal [m], or blocks [b s s].

Independent errors are the rule, and a million of them have no matrix. Blocks are those of s
components each that follow each other, m = b s; between blocks errors are independent. What has
another structure is an `AbstractCovariance` (`structured_covariance`).
"""

from __future__ import annotations

import abc
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp

from .._typing import Array, Bool, Float
from .arrays import dot
from .linalg import cholesky, solve_lower


class AbstractCovariance(eqx.Module):
    """R with a structure of its own.

    Attributes:
        factored: whether rows are whitened by a factor of R; else each call of `whitened` has
            coordinates of its own, in which only the rows given together can be compared.
    """

    factored: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def variances(self) -> Float[Array, " m"]:
        """Return the diagonal."""

    @abc.abstractmethod
    def in_units(self, units: Float[Array, " m"]) -> AbstractCovariance:
        """Return R of a measurement expressed in other units."""

    @abc.abstractmethod
    def masked(self, measured: Bool[Array, " m"]) -> AbstractCovariance:
        """Return R with missing components cut off and given unit variance."""

    @abc.abstractmethod
    def whitened(self, rows: Float[Array, "n m"]) -> Float[Array, "n r"]:
        """Return rows in coordinates in which errors are independent, of unit variance."""

    def independent(self, variances: Float[Array, " m"]) -> Covariance:
        """Return independent errors of some variances, in this form where programs choose."""
        return variances


Covariance: TypeAlias = Array | AbstractCovariance


def in_form_of(covariance: Covariance, variances: Float[Array, " m"]) -> Covariance:
    """Return independent errors of some variances, in the form that a covariance has."""
    if isinstance(covariance, AbstractCovariance):
        return covariance.independent(variances)
    return _diagonal(covariance, variances)


def _diagonal(like: Array, variances: Float[Array, " m"]) -> Array:
    """Return variances as the diagonal of a matrix or of blocks, where R is one or some."""
    if like.ndim == 1:
        return variances
    own = variances.reshape(like.shape[:-1])[..., None]
    return jnp.where(jnp.eye(like.shape[-1], dtype=bool), own, jnp.zeros((), own.dtype))


def variances(covariance: Covariance) -> Float[Array, " m"]:
    """Return the diagonal of R."""
    if isinstance(covariance, AbstractCovariance):
        return covariance.variances()
    if covariance.ndim == 1:
        return covariance
    return jnp.diagonal(covariance, axis1=-2, axis2=-1).reshape(-1)


def no_smaller(covariance: Array, variance: Float[Array, " m"]) -> Array:
    """Return R, without a structure, with a diagonal of at least some variances.

    A negative variance is none, and becomes NaN.
    """
    own = variances(covariance)
    lacking = jnp.where(own >= 0, jnp.maximum(variance - own, 0), jnp.nan)
    return covariance + _diagonal(covariance, lacking)


def covariance_in_units(covariance: Covariance, units: Float[Array, " m"]) -> Covariance:
    """Return R of a measurement expressed in other units, in the form it has."""
    if isinstance(covariance, AbstractCovariance):
        return covariance.in_units(units)
    # one after the other: the square of a small unit is no number
    if covariance.ndim == 1:
        return covariance / units / units
    units = units.reshape(covariance.shape[:-1])
    return covariance / units[..., None, :] / units[..., :, None]


def masked_covariance(covariance: Any, measured: Bool[Array, " m"]) -> Any:
    """Return R with missing components cut off and given unit variance, in the form it has."""
    if isinstance(covariance, AbstractCovariance):
        return covariance.masked(measured)
    if covariance.ndim == 1:
        return jnp.where(measured, covariance, 1)
    measured = measured.reshape(covariance.shape[:-1])
    both = measured[..., :, None] & measured[..., None, :]
    missing = jnp.where(measured, 0, 1).astype(covariance.dtype)
    unit = jnp.broadcast_to(jnp.eye(covariance.shape[-1], dtype=covariance.dtype), covariance.shape)
    return jnp.where(both, covariance, 0) + missing[..., None] * unit


def whitened(rows: Float[Array, "n m"], covariance: Covariance) -> Float[Array, "n r"]:
    """Return rows L^{-T}, R = L L^T: errors of covariance R become independent, of variance 1.

    What has no factor is returned in coordinates of the rows' own span: only what is given together
    can be compared.
    """
    if isinstance(covariance, AbstractCovariance):
        return covariance.whitened(rows)
    if covariance.ndim == 1:
        return rows / jnp.sqrt(covariance)[None]
    columns = rows.T.reshape(*covariance.shape[:-1], -1)
    return solve_lower(cholesky(covariance), columns).reshape(rows.shape[::-1]).T


def mixed(rows: Float[Array, "n m"], factor: Float[Array, "m *m"]) -> Float[Array, "n m"]:
    """Return rows times a symmetric factor in the form of a matrix or of blocks."""
    columns = rows.T.reshape(*factor.shape[:-1], -1)
    return dot(factor, columns).reshape(rows.shape[::-1]).T
