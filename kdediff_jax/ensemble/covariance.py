r"""Covariances of state and prediction: of the whole ensemble, or around each of its members."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import pairwise
from .._typing import Array, Float, Scalar
from ..numerics import apply_spectral, dot, root_of_rows, safe_sqrt, solve_positive


class Covariances(NamedTuple):
    """Prior covariances P_xh = X^T Y and P_hh = Y^T Y, by k pairs of r rows each.

    Attributes:
        state: X.
        predicted: Y.
    """

    state: Float[Array, "k r d"]
    predicted: Float[Array, "k r m"]

    @property
    def cross(self) -> Float[Array, "k d m"]:
        """P_xh."""
        return dot(jnp.swapaxes(self.state, 1, 2), self.predicted)

    @property
    def signal(self) -> Float[Array, "k m m"]:
        """P_hh."""
        return dot(jnp.swapaxes(self.predicted, 1, 2), self.predicted)


def whole_ensemble(anomalies: Float[Array, "n d"], deviations: Float[Array, "n m"]) -> Covariances:
    """Return the sample covariances (divisor n - 1) of the whole ensemble, k = 1 and r = n.

    Args:
        anomalies: of the members.
        deviations: anomalies of their noise-free predictions.
    """
    scale = (anomalies.shape[0] - 1) ** 0.5
    return Covariances(anomalies[None] / scale, deviations[None] / scale)


def neighbourhoods(
    whitened: Float[Array, "n d"],
    root: Float[Array, "d d"],
    deviations: Float[Array, "n m"],
    width: Scalar,
) -> Covariances:
    r"""Return the covariances around every member, k = n and r = d: two modes get a gain each.

    In coordinates z of unit covariance, with Gaussian weights of the width given, the covariance
    C_i around member i and the slope of h on z there are attention-weighted sums. The weights
    narrow what they see: for a Gaussian prior C = (P^{-1} + 1/width^2)^{-1}, and so its eigenvalues
    c are widened back to c / (1 - c / width^2), at most to 1, the whole ensemble's. Where fewer
    than d + 1 members are near, the whole ensemble's covariance and slope are taken, and near that
    a mean of both (of the logarithms of the variances).

    Args:
        whitened: members z_i of zero mean and unit covariance.
        root: x anomalies are `whitened @ root.T`.
        deviations: anomalies of the noise-free predictions.
        width: of the neighbourhood, in units of the ensemble's spread.
    """
    n, d = whitened.shape
    near, cross, members = _near_moments(whitened, deviations, width)
    tiny = 1e-3 * jnp.minimum(width**2, 1)  # a ridge where the neighbourhood is degenerate
    unit = jnp.eye(d, dtype=whitened.dtype)[None]
    slope = jnp.swapaxes(solve_positive(near + tiny * unit, cross), 1, 2)
    blend = jnp.where(members < d + 1, 1, (d + 1) / (members + d + 1))[:, None]
    overall = dot(deviations.T, whitened) / (n - 1)
    slope = (1 - blend[:, :, None]) * slope + blend[:, :, None] * overall[None]
    right = jnp.broadcast_to(root.T[None], (n, d, d)), jnp.swapaxes(slope, 1, 2)
    return Covariances(*apply_spectral(_widened, near, right, width, blend))


def _widened(variances: Array, width: Scalar, blend: Array) -> tuple[Array, Array]:
    """Return the deviations that a window of that width saw, for state and prediction.

    They are the square roots of c / (1 - c / width^2), at most 1.
    """
    seen = jnp.maximum(variances, jnp.finfo(variances.dtype).eps)
    rest = 1 - seen / width**2
    inside = rest > seen  # else above 1
    widened = jnp.where(inside, seen / jnp.where(inside, rest, 1), 1)
    std = widened ** (0.5 * (1 - blend))
    return std, std


def _near_moments(
    whitened: Float[Array, "n d"], deviations: Float[Array, "n m"], width: Scalar
) -> tuple[Float[Array, "n d d"], Float[Array, "n d m"], Float[Array, " n"]]:
    """Return covariance, cross covariance and effective number of members around each member.

    First and second moments are attention-weighted means of products of coordinates, one pass of
    the pairwise core for all of them.
    """
    n, d = whitened.shape
    m = deviations.shape[1]
    upper = np.triu_indices(d)  # a symmetric matrix is carried once
    products = whitened[:, upper[0]] * whitened[:, upper[1]]
    crossed = (whitened[:, :, None] * deviations[:, None, :]).reshape(n, d * m)
    values = jnp.concatenate([whitened, products, deviations, crossed], axis=1)
    equal = jnp.zeros(n, whitened.dtype)
    means, log_sum = pairwise.softmax_mean(whitened, whitened, values, equal, width)
    # sum k and sum k^2, k being a Gaussian of the distance: the square is a narrower Gaussian
    _, log_squares = pairwise.softmax_shift(whitened, whitened, equal, width / 2**0.5)
    members = jnp.exp(2 * log_sum - log_squares)
    z, zz, h, zh = jnp.split(means, np.cumsum([d, len(upper[0]), m]), axis=1)
    # Bessel's correction for weights: n / (n - 1) with their effective number
    bias = (1 / (1 - 1 / jnp.maximum(members, 1.5)))[:, None, None]
    place = np.zeros((d, d), int)  # where each entry of a symmetric matrix is in its upper half
    place[upper] = place.T[upper] = np.arange(len(upper[0]))
    square = zz[:, place]
    near = bias * (square - z[:, :, None] * z[:, None, :])
    cross = bias * (zh.reshape(n, d, m) - z[:, :, None] * h[:, None, :])
    return near, cross, members


def shrunk(covariance: Float[Array, "d d"], n: int) -> Float[Array, "d d"]:
    """Return the covariance of n members shrunk towards its diagonal, so that n <= d works."""
    intensity = _shrinkage(covariance, n)
    return (1 - intensity) * covariance + intensity * jnp.diag(jnp.diagonal(covariance))


def shrunk_root(rows: Float[Array, "r d"], n: int) -> Float[Array, "d d"]:
    """Return the lower root of the covariance rows^T rows, shrunk likewise, without forming it."""
    covariance = dot(rows.T, rows)
    intensity = _shrinkage(covariance, n)
    kept = safe_sqrt(1 - intensity) * rows
    return root_of_rows(kept, intensity * jnp.diagonal(covariance))


def _shrinkage(covariance: Float[Array, "d d"], n: int) -> Scalar:
    """Return how far to shrink, 0 to 1.

    That of oracle approximating shrinkage (Chen, Wiesel, Eldar and Hero 2010, Eq. 23) for the
    correlation matrix, which makes it free of units.
    """
    d = covariance.shape[0]
    if d == 1:
        return jnp.zeros((), covariance.dtype)
    safe = safe_sqrt(jnp.diagonal(covariance), otherwise=1.0)
    correlation = covariance / (safe[:, None] * safe[None, :])
    squares, trace = jnp.sum(correlation**2), jnp.trace(correlation)
    numerator = (1 - 2 / d) * squares + trace**2
    denominator = (n + 1 - 2 / d) * (squares - trace**2 / d)
    return jnp.where(denominator > numerator, numerator / jnp.maximum(denominator, 1e-30), 1)
