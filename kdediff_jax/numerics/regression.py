r"""Ridge regression of some variables on the members of an ensemble, missing values allowed."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from .._typing import Array, Bool, Float, Scalar
from .arrays import dot, standard_deviation
from .roots import solve_positive

ROUNDS = 30  # of filling missing values by the regression, and regressing again


class LinearFit(NamedTuple):
    """v(x) = intercept + slope^T (x - origin) / scale.

    Attributes:
        origin, scale: mean and standard deviation of the members [d].
        intercept: mean of the variables [m].
        slope: [d m].
        freedom: number of slopes that the ridge leaves, the trace of the hat matrix.
    """

    origin: Float[Array, " d"]
    scale: Float[Array, " d"]
    intercept: Float[Array, " m"]
    slope: Float[Array, "d m"]
    freedom: Scalar

    def at(self, points: Float[Array, "k d"]) -> Float[Array, "k m"]:
        """Return v at some points."""
        return self.intercept[None] + dot(
            (points - self.origin[None]) / self.scale[None], self.slope
        )


def linear_fit(
    x: Float[Array, "n d"], values: Float[Array, "n m"], known: Bool[Array, "n m"]
) -> LinearFit:
    """Return the regression of each variable on the members, with a ridge of one member's weight.

    Missing values are filled by the regression itself, over and over (Orchard and Woodbury 1972):
    one decomposition serves all variables.

    Args:
        x: members.
        values: variables.
        known: which of them count; the others may be anything.
    """
    n, d = x.shape
    origin, scale = jnp.mean(x, axis=0), standard_deviation(x)
    z = (x - origin[None]) / scale[None]
    smaller = z if d < n else z.T
    gram = dot(smaller.T, smaller)
    ridge = gram + jnp.eye(gram.shape[0], dtype=gram.dtype)
    count = jnp.maximum(jnp.sum(known, axis=0), 1).astype(x.dtype)
    values = jnp.where(known, values, 0)
    filled = jnp.where(known, values, (jnp.sum(values, axis=0) / count)[None])

    def fit(filled: Array) -> LinearFit:
        intercept = jnp.mean(filled, axis=0)
        centred = filled - intercept[None]
        if d < n:
            slope = solve_positive(ridge, dot(z.T, centred))
        else:
            slope = dot(z.T, solve_positive(ridge, centred))
        return LinearFit(origin, scale, intercept, slope, freedom)

    def rounds(filled: Array) -> Array:
        return lax.fori_loop(
            0, ROUNDS, lambda _, filled: jnp.where(known, values, fit(filled).at(x)), filled
        )

    freedom = jnp.trace(solve_positive(ridge, gram))
    return fit(lax.cond(jnp.all(known), lambda filled: filled, rounds, filled))
