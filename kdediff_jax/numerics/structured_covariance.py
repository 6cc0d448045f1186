r"""R as a lineax operator: what can be factored is, the rest is solved with by conjugate gradients.

A diagonal operator becomes its diagonal, one with a matrix that matrix. A tridiagonal R = L L^T has
a bidiagonal root, and rows are whitened by one recursion over the components. Of any other operator
only products R v are asked for: with C = R^{-1} rows^T by conjugate gradients, the Gram matrix of
the rows, rows C, is all that a Kalman filter of few members needs to know. Its triangular root is
the rows in coordinates of their own span in which errors are independent: [k k] instead of [k m].
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import lineax
from jax import lax

from .._typing import Array, Bool, Float
from .arrays import dot
from .noise_covariance import AbstractCovariance
from .roots import floored_root


class Tridiagonal(AbstractCovariance):
    """R of components each of which follows its two neighbours.

    Attributes:
        diagonal: of R.
        beside: R_{k,k+1}.
    """

    diagonal: Float[Array, " m"]
    beside: Float[Array, " m-1"]
    factored: ClassVar[bool] = True

    def variances(self) -> Float[Array, " m"]:
        """Return the diagonal."""
        return self.diagonal

    def in_units(self, units: Float[Array, " m"]) -> Tridiagonal:
        """Return R in other units."""
        return Tridiagonal(self.diagonal / units / units, self.beside / units[:-1] / units[1:])

    def masked(self, measured: Bool[Array, " m"]) -> Tridiagonal:
        """Return R with missing components cut off."""
        both = measured[:-1] & measured[1:]
        return Tridiagonal(jnp.where(measured, self.diagonal, 1), jnp.where(both, self.beside, 0))

    def whitened(self, rows: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Return rows L^{-T}, by r_k = (row_k - u_k r_{k-1}) / l_k."""

        def step(last: tuple[Array, Array], here: tuple) -> tuple[tuple, Array]:
            root, value = last
            variance, beside, column = here
            below = beside / root
            root = jnp.sqrt(variance - below**2)
            value = (column - below * value) / root
            return (root, value), value

        one, nothing = jnp.ones((), rows.dtype), jnp.zeros(rows.shape[0], rows.dtype)
        before = jnp.concatenate([jnp.zeros(1, rows.dtype), self.beside])
        return lax.scan(step, (one, nothing), (self.diagonal, before, rows.T))[1].T


class Solvable(AbstractCovariance):
    """Any positive definite operator: R in units, missing components cut off.

    Attributes:
        operator: of R in the units of the measurement.
        variance: its diagonal, in the units here.
        units: of every component.
        measured: components that are not missing.
    """

    operator: Any
    variance: Float[Array, " m"]
    units: Float[Array, " m"]
    measured: Bool[Array, " m"]
    factored: ClassVar[bool] = False

    def variances(self) -> Float[Array, " m"]:
        """Return the diagonal."""
        return jnp.where(self.measured, self.variance, 1)

    def in_units(self, units: Float[Array, " m"]) -> Solvable:
        """Return R in other units."""
        variance = self.variance / units / units
        return Solvable(self.operator, variance, self.units * units, self.measured)

    def masked(self, measured: Bool[Array, " m"]) -> Solvable:
        """Return R with missing components cut off."""
        return Solvable(self.operator, self.variance, self.units, self.measured & measured)

    def whitened(self, rows: Float[Array, "k m"]) -> Float[Array, "k k"]:
        """Return the rows in coordinates of their own span, NaN where R is not definite."""
        gram = dot(rows, jax.vmap(self._solve)(rows).T)
        return floored_root(0.5 * (gram + gram.T))

    def _solve(self, right: Float[Array, " m"]) -> Float[Array, " m"]:
        """Return R^{-1} right."""

        def product(x: Array) -> Array:
            inside = jnp.where(self.measured, x, 0) / self.units
            return jnp.where(self.measured, _product(self.operator, inside) / self.units, x)

        structure = jax.ShapeDtypeStruct(right.shape, right.dtype)
        tag = lineax.positive_semidefinite_tag
        operator = lineax.FunctionLinearOperator(product, structure, tag)
        # the Gram matrix has the square of the solutions' error, and float32 reaches no less
        tolerance = float(jnp.finfo(right.dtype).eps ** 0.5)
        solver = lineax.CG(tolerance, tolerance, max_steps=max(100, right.shape[0]))
        found = lineax.linear_solve(operator, right, solver, throw=False)
        # what has not converged must not pass for an answer, and nothing here may call the host
        return jnp.where(found.result == lineax.RESULTS.successful, found.value, jnp.nan)


def covariance_of_operator(operator: Any, m: int, dtype: jnp.dtype) -> Array | AbstractCovariance:
    """Return R in the simplest form that an operator allows.

    Raises:
        ValueError: an operator on anything but vectors of m numbers, or one of which neither a
            factor nor the tag of a positive semidefinite operator is known.
        TypeError: no operator.
    """
    if not isinstance(operator, lineax.AbstractLinearOperator):
        raise TypeError(
            "observation: expected `covariance` to return an array or a `lineax` operator, got "
            f"{type(operator).__name__}"
        )
    spaces = operator.in_structure(), operator.out_structure()
    if any(getattr(space, "shape", None) != (m,) for space in spaces):
        raise ValueError(
            f"observation: expected `covariance` to return an operator on vectors of shape ({m},), "
            f"got one from {spaces[0]} to {spaces[1]}"
        )
    if lineax.is_diagonal(operator):
        return lineax.diagonal(operator).astype(dtype)
    if lineax.is_tridiagonal(operator):
        diagonal, _, beside = lineax.tridiagonal(operator)
        return Tridiagonal(diagonal.astype(dtype), beside.astype(dtype))
    if _has_matrix(operator):
        return operator.as_matrix().astype(dtype)
    if not lineax.is_positive_semidefinite(operator):
        raise ValueError(
            "observation: expected `covariance` to return an operator with the tag "
            "`lineax.positive_semidefinite_tag` (or one that is diagonal, tridiagonal or a matrix),"
            f" got {type(operator).__name__} without it; `lineax.TaggedLinearOperator` adds it"
        )
    one = jnp.ones(m, dtype)
    return Solvable(operator, _diagonal(operator, m, dtype), one, jnp.ones(m, bool))


def _has_matrix(operator: lineax.AbstractLinearOperator) -> bool:
    """Return whether an operator is made of matrices, and of multiples of them."""
    if isinstance(operator, lineax.AddLinearOperator):
        return _has_matrix(operator.operator1) or _has_matrix(operator.operator2)
    inside = getattr(operator, "operator", None)  # of a multiple, or of one with tags
    if isinstance(inside, lineax.AbstractLinearOperator):
        return _has_matrix(inside)
    return isinstance(operator, lineax.MatrixLinearOperator)


def _product(operator: lineax.AbstractLinearOperator, x: Array) -> Array:
    """Return R x, by an operator of any dtype."""
    return operator.mv(x.astype(operator.in_structure().dtype)).astype(x.dtype)


def _diagonal(
    operator: lineax.AbstractLinearOperator, m: int, dtype: jnp.dtype
) -> Float[Array, " m"]:
    """Return the diagonal, by a product with every unit vector, one after the other."""
    if lineax.has_unit_diagonal(operator):
        return jnp.ones(m, dtype)

    def component(k: Array) -> Array:
        return _product(operator, (jnp.arange(m) == k).astype(dtype))[k]

    return lax.map(component, jnp.arange(m))
