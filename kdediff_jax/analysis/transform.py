r"""The ensemble transform of a square-root Kalman analysis, for any share of the likelihood.

With S = R^{-1/2} Y / sqrt(N - 1) the scaled anomalies of the predicted measurements (rows are
members), S S^T = V diag(l) V^T and e the scaled innovation, a share g of the log-likelihood (the
noise R / g) moves the anomalies A to

    mean + g A^T V (1 + g l)^{-1} V^T S e / sqrt(N - 1),   anomalies V (1 + g l)^{-1/2} V^T A

(the symmetric root; Bishop, Etherton and Majumdar 2001, Hunt, Kostelich and Szunyogh 2007). One
decomposition serves every share.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from .._typing import Array, Float, Scalar, like
from .gains import dot

COORDINATES_AT_ONCE = 64  # of a localised analysis, where each has a decomposition of its own


class Spectrum(NamedTuple):
    """Decomposition of S S^T, and V^T S e."""

    values: Float[Array, " n"]
    vectors: Float[Array, "n n"]
    pull: Float[Array, " n"]

    def freedom(self) -> Scalar:
        """Return the degrees of freedom that the measurement determines, sum l / (1 + l)."""
        return jnp.sum(self.values / (1 + self.values))


def decompose(scaled: Float[Array, "n m"], innovation: Float[Array, " m"]) -> Spectrum:
    """Return the decomposition.

    Args:
        scaled: R^{-1/2} Y, anomalies of the predictions.
        innovation: R^{-1/2} (y - mean prediction).
    """
    scaled = scaled / (scaled.shape[0] - 1) ** 0.5
    values, vectors = jnp.linalg.eigh(dot(scaled, scaled.T))
    pull = dot(vectors.T, dot(scaled, innovation[:, None]))[:, 0]
    return Spectrum(jnp.maximum(values, 0), vectors, pull)


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
    # no square root of zero: its gradient is infinite
    far = taper == 0
    scale = jnp.where(far, 0, jnp.sqrt(jnp.where(far, 1, taper / noise)))
    return decompose(deviations * scale[None], innovation * scale)


def transform(
    spectrum: Spectrum, anomalies: Float[Array, "n k"], share: Scalar | float = 1.0
) -> tuple[Float[Array, " k"], Float[Array, "n k"]]:
    """Return the mean's increment and the new anomalies."""
    n = anomalies.shape[0]
    share = like(anomalies, share)
    values, vectors, pull = spectrum
    weights = dot(vectors, (share * pull / (1 + share * values))[:, None])[:, 0] / (n - 1) ** 0.5
    increment = dot(weights[None], anomalies)[0]
    inner = dot(vectors.T, anomalies) / jnp.sqrt(1 + share * values)[:, None]
    return increment, dot(vectors, inner)
