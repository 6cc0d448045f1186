r"""The ensemble transform of a square-root Kalman analysis, for any share of the likelihood.

With S = R^{-1/2} Y / sqrt(N - 1) the scaled anomalies of the predicted measurements (rows are
members), S S^T = V diag(l) V^T and e the scaled innovation, a share g of the log-likelihood (the
noise R / g) moves the anomalies A to

    mean + g A^T V (1 + g l)^{-1} V^T S e / sqrt(N - 1),   anomalies V (1 + g l)^{-1/2} V^T A

(the symmetric root; Bishop, Etherton and Majumdar 2001, Hunt, Kostelich and Szunyogh 2007). Fewer
measurements than members make S^T S = U diag(l) U^T the smaller problem; with B = S U the same is

    mean + g A^T B (1 + g l)^{-1} U^T e / sqrt(N - 1),   anomalies A + B (r - 1) / l B^T A,

r = (1 + g l)^{-1/2}, where (r - 1) / l = -g r^2 / (1 + r) needs no division by l. One decomposition
serves every share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float, Scalar, like
from ..numerics import dot, eigh, safe_sqrt

COORDINATES_AT_ONCE = 64  # of a localised analysis, where each has a decomposition of its own


class Spectrum(NamedTuple):
    """Decomposition of the smaller of S S^T and S^T S: k is the number of its eigenvalues."""

    values: Float[Array, " k"]
    vectors: Float[Array, "n k"]  # V, or B
    pull: Float[Array, " k"]  # V^T S e, or U^T e
    squares: Float[Array, " k"]  # l over the squared length of each vector: l, or 1

    def freedom(self) -> Scalar:
        """Return the degrees of freedom that the measurement determines, sum l / (1 + l)."""
        return jnp.sum(self.values / (1 + self.values))


def decompose(scaled: Float[Array, "n m"], innovation: Float[Array, " m"]) -> Spectrum:
    """Return the decomposition.

    Args:
        scaled: R^{-1/2} Y, anomalies of the predictions.
        innovation: R^{-1/2} (y - mean prediction).
    """
    n, m = scaled.shape
    scaled = scaled / (n - 1) ** 0.5
    if m < n:
        values, vectors = eigh(dot(scaled.T, scaled))
        pull = dot(vectors.T, innovation[:, None])[:, 0]
        return Spectrum(jnp.maximum(values, 0), dot(scaled, vectors), pull, jnp.ones_like(pull))
    values, vectors = eigh(dot(scaled, scaled.T))
    values = jnp.maximum(values, 0)
    pull = dot(vectors.T, dot(scaled, innovation[:, None]))[:, 0]
    return Spectrum(values, vectors, pull, values)


def decompose_near(
    deviations: Float[Array, "n m"],
    innovation: Float[Array, " m"],
    taper: Float[Array, " m"],
    noise: Float[Array, " m"],
) -> Spectrum:
    """Return the decomposition for one coordinate, precisions multiplied by its taper (LETKF).

    Args:
        deviations: anomalies Y of the predictions.
        innovation: y - mean prediction.
        taper: weight of every measurement, 0 to 1.
        noise: variances of the measurements.
    """
    scale = safe_sqrt(taper / noise)
    return decompose(deviations * scale[None], innovation * scale)


def transform(
    spectrum: Spectrum, anomalies: Float[Array, "n k"], share: Scalar | float = 1.0
) -> tuple[Float[Array, " k"], Float[Array, "n k"]]:
    """Return the mean's increment and the new anomalies."""
    n = anomalies.shape[0]
    share = like(anomalies, share)
    values, vectors, pull, squares = spectrum
    shrunk = 1 / (1 + share * values)
    weights = dot(vectors, (share * pull * shrunk)[:, None])[:, 0] / (n - 1) ** 0.5
    increment = dot(weights[None], anomalies)[0]
    lost = share * squares * shrunk / (1 + jnp.sqrt(shrunk))
    return increment, anomalies - dot(vectors, lost[:, None] * dot(vectors.T, anomalies))


def local_transform(
    anomalies: Float[Array, "n d"],
    deviations: Float[Array, "n m"],
    innovation: Float[Array, " m"],
    taper: Float[Array, "d m"],
    noise: Float[Array, " m"],
    shares: Float[Array, " g"],
) -> tuple[Float[Array, "g n d"], Float[Array, " d"]]:
    """Return every coordinate's own transform by the measurements near it, for every share.

    Args:
        anomalies: of the members.
        deviations: of their predictions, 0 in missing components.
        innovation: y - mean prediction, 0 in missing components.
        taper: weight of every measurement for every coordinate.
        noise: variances of the measurements.
        shares: g, of the log-likelihood.

    Returns:
        increment of the mean plus new anomalies, and each coordinate's degrees of freedom.
    """

    def column(anomaly: Array, near: Array) -> tuple[Array, Scalar]:
        spectrum = decompose_near(deviations, innovation, near, noise)

        def at(share: Scalar) -> Array:
            increment, spread = transform(spectrum, anomaly[:, None], share)
            return (spread + increment[None])[:, 0]

        return jax.vmap(at)(shares), spectrum.freedom()

    moved, freedom = each_coordinate(column, anomalies.T, taper)
    return jnp.moveaxis(moved, 0, 2), freedom


def each_coordinate(function: Callable[..., Any], *rows: Array) -> Any:
    """Return a function of every coordinate's rows, some coordinates at once to bound memory."""
    return lax.map(lambda row: function(*row), rows, batch_size=COORDINATES_AT_ONCE)
