"""Multiplicative covariance inflation (Anderson and Anderson 1999)."""

from __future__ import annotations

import jax.numpy as jnp

from .._typing import Array, Float, Scalar, like


def inflate(ensemble: Float[Array, "n d"], factor: Scalar | float) -> Float[Array, "n d"]:
    """Return mean + factor (x_i - mean): the spread grows by `factor`, the mean stays."""
    mean = jnp.mean(ensemble, axis=0, keepdims=True)
    return mean + like(ensemble, factor) * (ensemble - mean)
