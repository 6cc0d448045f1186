r"""A smooth function of the state, found from noisy values at the members: constant, linear, local.

Candidates are the mean, a ridge regression on the members, and that regression with a kernel
smoother of its residuals added (Nadaraya and Watson 1964), in some widths. Leave-one-out errors
decide, a column at a time; a candidate is taken only where it explains what chance would not.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array, Bool, Float, Int, Scalar
from .arrays import dot, safe_sqrt
from .regression import LinearFit, linear_fit

CENTRES = 1000  # members that a kernel smoother uses at most: its cost is their number's square


class Smooth(NamedTuple):
    """A function of the state for each column.

    Attributes:
        linear: the regression.
        centres: members of the kernel smoother, in units of their standard deviation [c d].
        residuals: of the regression there, 0 where nothing is known [c m].
        known: 1 where something is known [c m].
        widths: of the kernels, in standard deviations [b].
        chosen: candidate of each column: 0 the mean, 1 the regression, 2 + k the k-th width [m].
        error: mean squared leave-one-out error of the candidate chosen [m].
    """

    linear: LinearFit
    centres: Float[Array, "c d"]
    residuals: Float[Array, "c m"]
    known: Float[Array, "c m"]
    widths: Float[Array, " b"]
    chosen: Int[Array, " m"]
    error: Float[Array, " m"]

    def at(self, points: Float[Array, "k d"]) -> Float[Array, "k m"]:
        """Return the function's values at some points."""
        linear = self.linear.at(points)
        squared = mean_squares(self.linear.scaled(points), self.centres)

        def local(width: Array) -> Array:
            kernel = jnp.exp(-0.5 * squared / width**2)
            return linear + _shrunk_mean(kernel, self.residuals, self.known)

        constant = jnp.broadcast_to(self.linear.intercept[None], linear.shape)
        values = jnp.concatenate([constant[None], linear[None], jax.vmap(local)(self.widths)])
        return jnp.take_along_axis(values, self.chosen[None, None], axis=0)[0]


def smooth(
    members: Float[Array, "n d"],
    values: Float[Array, "n m"],
    known: Bool[Array, "n m"],
    widths: Float[Array, " b"],
    evidence: Scalar,
) -> Smooth:
    """Return the function that leaves the least error at members that it has not seen.

    Args:
        members: x_i, finite.
        values: of the columns.
        known: which of them count.
        widths: of the kernels, in standard deviations of a coordinate.
        evidence: decrease of the sum of squared errors, in units of the error variance, that a
            candidate must bring over a simpler one. A useless one brings less than 0 on average.
    """
    n = min(members.shape[0], CENTRES)
    fit = linear_fit(members, values, known)
    weight = known.astype(values.dtype)
    count = jnp.maximum(jnp.sum(weight, axis=0), 2)
    # likewise a mean of the others misses by n / (n - 1)
    of_mean = jnp.where(known, values - fit.intercept[None], 0) * (count / (count - 1))[None]
    residuals = jnp.where(known, values - fit.at(members), 0)
    # without its own value a regression misses it by 1 / (1 - leverage) more: no second fit
    of_line = residuals / jnp.maximum(1 - fit.leverage, 1e-3)[:, None]
    centres = fit.scaled(members[:n])
    squared = mean_squares(centres, centres)

    def of_local(width: Array) -> Array:
        others = jnp.exp(-0.5 * squared / width**2) * (1 - jnp.eye(n, dtype=squared.dtype))
        return of_line[:n] - weight[:n] * _shrunk_mean(others, residuals[:n], weight[:n])

    errors = jnp.concatenate([jnp.stack([of_mean[:n], of_line[:n]]), jax.vmap(of_local)(widths)])
    errors = jnp.sum(errors**2, axis=1) / jnp.maximum(jnp.sum(weight[:n], axis=0), 1)[None]
    # a simpler candidate has the benefit of the doubt: errors scatter by the freedom of the others
    steps = jnp.minimum(jnp.arange(errors.shape[0]), 2).astype(errors.dtype)
    doubt = (evidence + 4 * safe_sqrt(fit.freedom)) * steps / count.max()
    chosen = jnp.argmin(errors * (1 + doubt)[:, None], axis=0)
    error = jnp.take_along_axis(errors, chosen[None], axis=0)[0]
    return Smooth(fit, centres, residuals[:n], weight[:n], widths, chosen, error)


def mean_squares(a: Float[Array, "k d"], b: Float[Array, "c d"]) -> Float[Array, "k c"]:
    """Return distances as mean squares: a width then means the same in any dimension."""
    squared = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None] - 2 * dot(a, b.T)
    return jnp.maximum(squared, 0) / a.shape[1]


def _shrunk_mean(
    kernel: Float[Array, "k c"], values: Float[Array, "c m"], known: Float[Array, "c m"]
) -> Float[Array, "k m"]:
    """Return kernel means, with a zero of one member's weight among them."""
    return dot(kernel, values) / (dot(kernel, known) + 1)
