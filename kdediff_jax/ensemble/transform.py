r"""The ensemble transform of a square-root Kalman analysis, for any share of the likelihood.

With S = R^{-1/2} Y / sqrt(N - 1) the scaled anomalies of the predicted measurements (rows are
members) and e the scaled innovation, a share g of the log-likelihood (the noise R / g) moves the
anomalies A to

    mean + g A^T (1 + g S S^T)^{-1} S e / sqrt(N - 1),   anomalies (1 + g S S^T)^{-1/2} A

(the symmetric root; Bishop, Etherton and Majumdar 2001, Hunt, Kostelich and Szunyogh 2007). Fewer
measurements than members make S^T S = U diag(l) U^T the smaller problem; the same is

    mean + g A^T S (1 + g S^T S)^{-1} e / sqrt(N - 1),   anomalies A + S U (r - 1) / l U^T S^T A,

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
from ..numerics import Image, apply_gram, dot, safe_sqrt

COORDINATES_AT_ONCE = 64  # of a localised analysis, where each has a decomposition of its own


class Transformed(NamedTuple):
    """What an ensemble transform does to the coordinates given.

    Attributes:
        increment: of the mean [k].
        anomalies: of the analysis [n k].
        freedom: degrees of freedom that the measurement determines, tr(S^T S (1 + S^T S)^{-1}).
    """

    increment: Float[Array, " k"]
    anomalies: Float[Array, "n k"]
    freedom: Scalar


def transform(
    scaled: Float[Array, "n m"],
    innovation: Float[Array, " m"],
    anomalies: Float[Array, "n k"],
    share: Scalar | float = 1.0,
) -> Transformed:
    """Return the mean's increment and the new anomalies.

    Args:
        scaled: R^{-1/2} Y, anomalies of the predictions.
        innovation: R^{-1/2} (y - mean prediction).
        anomalies: A, of the coordinates to be updated.
        share: g, of the log-likelihood.
    """
    n, m = scaled.shape
    scaled, innovation = scaled / (n - 1) ** 0.5, innovation[:, None]
    share = like(anomalies, share)
    if m < n:
        seen = dot(scaled.T, anomalies)
        pull, lost, freedom = apply_gram(_by_measurements, scaled, (innovation, seen, None), share)
        weights, lost = dot(scaled, pull), dot(scaled, lost)
    else:
        right = Image(innovation), anomalies, None
        weights, lost, freedom = apply_gram(_by_members, scaled, right, share)
    increment = dot(weights.T, anomalies)[0] / (n - 1) ** 0.5
    return Transformed(increment, anomalies - lost, freedom)


def _by_measurements(values: Array, share: Scalar) -> tuple[Array, Array, Array]:
    """Return g / (1 + g l), -(r - 1) / l and l / (1 + l) for the eigenvalues l of S^T S."""
    shrunk = 1 / (1 + share * values)
    return share * shrunk, share * shrunk / (1 + jnp.sqrt(shrunk)), values / (1 + values)


def _by_members(values: Array, share: Scalar) -> tuple[Array, Array, Array]:
    """Return g / (1 + g l), 1 - r and l / (1 + l) for the eigenvalues l of S S^T."""
    pull, lost, freedom = _by_measurements(values, share)
    return pull, values * lost, freedom


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
        scale = safe_sqrt(near / noise)  # the precision of every measurement times its taper

        def at(share: Scalar) -> tuple[Array, Scalar]:
            increment, spread, freedom = transform(
                deviations * scale[None], innovation * scale, anomaly[:, None], share
            )
            return (spread + increment[None])[:, 0], freedom

        moved, freedom = jax.vmap(at)(shares)
        return moved, freedom[0]

    moved, freedom = each_coordinate(column, anomalies.T, taper)
    return jnp.moveaxis(moved, 0, 2), freedom


def each_coordinate(function: Callable[..., Any], *rows: Array) -> Any:
    """Return a function of every coordinate's rows, some coordinates at once to bound memory."""
    return lax.map(lambda row: function(*row), rows, batch_size=COORDINATES_AT_ONCE)
