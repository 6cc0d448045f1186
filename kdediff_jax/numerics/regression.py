r"""Ridge regression of some variables on the members of an ensemble, missing values allowed."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from .._typing import Array, Bool, Float, Scalar
from .arrays import dot, standard_deviation
from .linalg import cho_solve, cholesky
from .rare import rarely

ROUNDS = 30  # of filling missing values by the regression, and regressing again


class LinearFit(NamedTuple):
    """v(x) = intercept + slope^T (x - origin) / scale.

    Attributes:
        origin, scale: mean and standard deviation of the members [d].
        intercept: mean of the variables [m].
        factors: whose product is the slope [d m]: the slope itself, or where that is larger than
            both, one [d n] and one [n m].
        leverage: diagonal of the hat matrix, intercept included [n].
    """

    origin: Float[Array, " d"]
    scale: Float[Array, " d"]
    intercept: Float[Array, " m"]
    factors: tuple[Array, ...]
    leverage: Float[Array, " n"]

    @property
    def freedom(self) -> Scalar:
        """Number of slopes that the ridge leaves: the trace of the hat matrix, less the mean."""
        return jnp.sum(self.leverage) - 1

    @property
    def slope(self) -> Float[Array, "d m"]:
        """Change of v with (x - origin) / scale."""
        return dot(*self.factors)

    def at(self, points: Float[Array, "k d"]) -> Float[Array, "k m"]:
        """Return v at some points."""
        return self.intercept[None] + dot(self.scaled(points), *self.factors)

    def scaled(self, points: Float[Array, "k d"]) -> Float[Array, "k d"]:
        """Return points in units of the members' standard deviation, about their mean."""
        return (points - self.origin[None]) / self.scale[None]


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
    origin, scale = jnp.mean(x, axis=0), standard_deviation(x)
    z = (x - origin[None]) / scale[None]
    smoother = _smoother(z)
    count = jnp.maximum(jnp.sum(known, axis=0), 1).astype(x.dtype)
    values = jnp.where(known, values, 0)
    filled = jnp.where(known, values, (jnp.sum(values, axis=0) / count)[None])

    def fill(_: int, filled: Array) -> Array:
        mean = jnp.mean(filled, axis=0, keepdims=True)
        return jnp.where(known, values, mean + dot(z, smoother, filled - mean))

    filled = rarely(~jnp.all(known), lambda: lax.fori_loop(0, ROUNDS, fill, filled), lambda: filled)
    mean = jnp.mean(filled, axis=0)
    leverage = jnp.sum(z * smoother.T, axis=1) + 1 / x.shape[0]
    factors = smoother, filled - mean[None]
    n, d, m = *x.shape, values.shape[1]
    if d * m <= n * (d + m):
        factors = (dot(*factors),)
    return LinearFit(origin, scale, mean, factors, leverage)


def _smoother(z: Float[Array, "n d"]) -> Float[Array, "d n"]:
    """Return (z^T z + 1)^{-1} z^T = z^T (z z^T + 1)^{-1}, by the smaller of the two."""
    n, d = z.shape
    smaller = z if d < n else z.T
    k, eps = smaller.shape[1], jnp.finfo(z.dtype).eps
    # z has unit variance: with k roundings of the diagonal a factor exists
    ridge = 1 + float(k * eps * max(n, d))
    system = dot(smaller.T, smaller) + ridge * jnp.eye(k, dtype=z.dtype)
    root = cholesky(system)
    return cho_solve(root, z.T) if d < n else cho_solve(root, z).T
