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

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array, Float, Scalar, like
from ..numerics import Image, apply_gram, dot, safe_sqrt
from .neighbours import Neighbourhoods, Neighbours, each_coordinate, each_neighbourhood


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
    near: Neighbourhoods,
    noise: Float[Array, " m"],
    shares: Float[Array, " g"],
) -> tuple[Float[Array, "g n d"], Float[Array, " d"]]:
    """Return every coordinate's own transform by the measurements near it, for every share.

    Args:
        anomalies: of the members.
        deviations: of their predictions, 0 in missing components.
        innovation: y - mean prediction, 0 in missing components.
        near: the measurements near every point of analysis, and their weights.
        noise: variances of the measurements.
        shares: g, of the log-likelihood.

    Returns:
        increment of the mean plus new anomalies, and each coordinate's degrees of freedom.
    """
    both = jnp.concatenate([deviations, innovation[None]]).T  # [m n+1]

    def moved_by(near: Neighbours, anomalies: Array, seen: tuple) -> tuple[Array, Scalar]:
        # the precision of every measurement is multiplied by its taper
        both, noise = seen
        scale = safe_sqrt(near.weights / near.of(noise))
        scaled = (near.of(both) * scale[:, None]).T

        def at(share: Scalar) -> tuple[Array, Scalar]:
            increment, spread, freedom = transform(scaled[:-1], scaled[-1], anomalies, share)
            return spread + increment[None], freedom

        moved, freedom = jax.vmap(at)(shares)
        return moved, freedom[0]

    seen = both, noise
    if near.shared is None:
        rows = anomalies.T[:, :, None]
        moved, freedom = each_neighbourhood(moved_by, near, rows, measured=seen)
    else:
        # a transform is linear in the anomalies: that of the unit matrix is its matrix [n n]
        unit = jnp.eye(anomalies.shape[0], dtype=anomalies.dtype)
        moved, freedom = each_coordinate(
            lambda near, seen: moved_by(near, unit, seen),
            lambda found, column: (dot(found[0], column[:, None]), found[1]),
            near,
            anomalies.T,
            measured=seen,
        )
    return jnp.moveaxis(moved[..., 0], 0, 2), freedom
