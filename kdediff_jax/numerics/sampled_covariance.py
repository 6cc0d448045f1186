r"""R from fewer residuals than components: a diagonal and a few rows, no matrix of all components.

The covariance B^T B of k residual rows is singular where their freedom is below the m components,
and in its null space a measurement would count as exact. So it is shrunk towards its diagonal D by
oracle approximating shrinkage (Chen, Wiesel, Eldar and Hero 2010, Eq. 23),

    R = rho D + (1 - rho) B^T B.

With C the rows over the root of the diagonal part, the symmetric root of 1 + C^T C takes a system
of k unknowns: with G = C C^T,

    (1 + C^T C)^{-1/2} = 1 - C^T f(G) C,   f(l) = 1 / (s (s + 1)),   s = sqrt(1 + l).
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp

from .._typing import Array, Bool, Float, Scalar
from .arrays import dot, safe_sqrt
from .noise_covariance import AbstractCovariance
from .spectral import apply_spectral


class DiagonalAndRows(AbstractCovariance):
    """R = diag(diagonal) + rows^T rows.

    Attributes:
        diagonal: positive.
        rows: few of them.
    """

    diagonal: Float[Array, " m"]
    rows: Float[Array, "k m"]
    factored: ClassVar[bool] = True

    def variances(self) -> Float[Array, " m"]:
        """Return the diagonal of R."""
        return self.diagonal + jnp.sum(self.rows**2, axis=0)

    def in_units(self, units: Float[Array, " m"]) -> DiagonalAndRows:
        """Return R in other units."""
        return DiagonalAndRows(self.diagonal / units / units, self.rows / units[None])

    def masked(self, measured: Bool[Array, " m"]) -> DiagonalAndRows:
        """Return R with missing components cut off."""
        diagonal = jnp.where(measured, self.diagonal, 1)
        return DiagonalAndRows(diagonal, jnp.where(measured[None], self.rows, 0))

    def whitened(self, rows: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Return rows in which errors are independent, see the module."""
        std = jnp.sqrt(self.diagonal)[None]
        scaled, own = rows / std, self.rows / std
        (pulled,) = apply_spectral(_seen, dot(own, own.T), (dot(own, scaled.T),))
        return scaled - dot(pulled.T, own)

    def independent(self, variances: Float[Array, " m"]) -> DiagonalAndRows:
        """Return independent errors in this form: whether noise is Gaussian is seen as it runs."""
        return DiagonalAndRows(variances, jnp.zeros_like(self.rows))


def _seen(values: Float[Array, " k"]) -> tuple[Float[Array, " k"]]:
    """Return f(l)."""
    root = jnp.sqrt(1 + jnp.maximum(values, 0))
    return (1 / (root * (root + 1)),)


def shrunk_rows(
    rows: Float[Array, "k m"], floor: Float[Array, " m"], freedom: int
) -> DiagonalAndRows:
    """Return the covariance rows^T rows + diag(floor), the first part shrunk to its diagonal.

    Args:
        rows: residuals over the root of their number.
        floor: variances of rounding.
        freedom: how many independent residuals they come from.
    """
    variance = jnp.sum(rows**2, axis=0)
    unit = rows / safe_sqrt(variance, otherwise=1.0)[None]  # of correlations
    squares, trace = jnp.sum(dot(unit, unit.T) ** 2), jnp.sum(unit**2)
    part = oracle_shrinkage(squares, trace, rows.shape[1], freedom)
    return DiagonalAndRows(part * variance + floor, safe_sqrt(1 - part) * rows)


def oracle_shrinkage(squares: Scalar, trace: Scalar, d: int, n: int) -> Scalar:
    """Return how far to shrink a correlation matrix of n samples in d dimensions, 0 to 1.

    Args:
        squares: sum of its squared entries.
        trace: of it.
        d: its size.
        n: samples.
    """
    numerator = (1 - 2 / d) * squares + trace**2
    denominator = (n + 1 - 2 / d) * (squares - trace**2 / d)
    part = denominator > numerator  # without correlations the denominator is 0, and all is taken
    return jnp.where(part, numerator / jnp.where(part, denominator, 1), 1)
