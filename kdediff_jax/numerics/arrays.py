"""Small array functions: full-precision products, safe roots, means, missing components."""

from __future__ import annotations

import functools

import jax.numpy as jnp

from .._typing import Array, Bool, Float


def dot(*factors: Array) -> Array:
    """Return the matrix product of the factors at full precision, never TF32 or bfloat16."""
    return functools.reduce(lambda a, b: jnp.matmul(a, b, precision="highest"), factors)


def safe_sqrt(x: Float[Array, "*s"], otherwise: float = 0.0) -> Float[Array, "*s"]:
    """Return the square root where x is positive, `otherwise` where it is not; NaN stays NaN.

    The derivative of the square root is infinite at zero, and infinity times a zero from a `where`
    around it would be NaN: hence a root of one there, which is then not used.
    """
    none = x <= 0
    return jnp.where(none, otherwise, jnp.sqrt(jnp.where(none, 1, x)))


def centred(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Return the anomalies x_i - mean of the rows."""
    return x - jnp.mean(x, axis=0, keepdims=True)


def standard_deviation(x: Float[Array, "n d"]) -> Float[Array, " d"]:
    """Return the standard deviation (divisor n) of each column, 1 where a column is constant."""
    variance = jnp.mean(centred(x) ** 2, axis=0)
    # the mean of a constant has a rounding, which is no variance
    rounding = (4 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), axis=0)) ** 2
    return safe_sqrt(jnp.where(variance > rounding, variance, 0), otherwise=1.0)


def split_missing(y: Float[Array, " m"]) -> tuple[Float[Array, " m"], Bool[Array, " m"]]:
    """Return the measurement with 0 for its NaN components, and which components are measured."""
    measured = ~jnp.isnan(y)
    return jnp.where(measured, y, 0), measured
