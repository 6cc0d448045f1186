"""Coordinates in units of an ensemble's spread: standardised or whitened."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from .._typing import Array, Bool, Float
from ..bandwidths import deviations
from ..numerics import centred, dot, floored_root, masked_covariance, solve_lower
from .covariance import shrunk

SCALINGS = ("standardised", "whitened")


class Scale(NamedTuple):
    """Coordinates z = root^{-1} (x - origin); root is diagonal or lower triangular."""

    origin: Float[Array, " d"]
    root: Float[Array, "d d"]

    def scale(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return z."""
        return solve_lower(self.root, (x - self.origin[None]).T).T

    def restore(self, z: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return x."""
        return self.origin[None] + dot(z, self.root.T)


def scale_of(data: Float[Array, "n d"], scaling: str, measured: Bool[Array, " d"]) -> Scale:
    """Return the coordinates of some data.

    Args:
        data: members or simulated measurements.
        scaling: one of `SCALINGS`.
        measured: components that are not missing; the others stand alone, so that they turn none.
    """
    n = data.shape[0]
    origin = jnp.mean(data, axis=0)
    if scaling == "standardised":
        return Scale(origin, jnp.diag(deviations(data)))
    anomalies = centred(data)
    covariance = shrunk(dot(anomalies.T, anomalies) / (n - 1), n)
    return Scale(origin, floored_root(masked_covariance(covariance, measured)))
