r"""Correlated measurement errors for schemes that localise component by component.

A component has a place and a precision of its own only where errors are independent. The symmetric
root makes them so: with R = V diag(l) V^T, the measurement

    R^{-1/2} y = R^{-1/2} h(x) + e,    R^{-1/2} = V diag(l^{-1/2}) V^T,    Cov[e] = I,

says the same. Of all roots it is the one whose components are nearest to the old ones (each over
its standard deviation, where R is diagonal), so that they keep their places: where errors are
correlated over a distance, so do the new components reach.
"""

from __future__ import annotations

import jax.numpy as jnp

from .._typing import Array, Float
from ..numerics import apply_spectral, dot, split_missing
from .predict import Predicted


def decorrelated(forecast: Predicted) -> Predicted:
    """Return the forecast with a measurement whose errors are independent, of unit variance.

    Args:
        forecast: in units near 1. Where its R is not stated as a matrix, it is returned as it is.
    """
    model = forecast.error_model
    if not model.correlated:
        return forecast
    noise, one = forecast.noise, jnp.ones_like(forecast.y)
    # missing components are apart in R, and so in its root: they mix with none
    (root,) = apply_spectral(_inverse_root, noise, (jnp.diag(one),))
    known, measured = split_missing(forecast.y)

    def predict(points: Array) -> Array:
        return dot(model.predict(points), root)

    return forecast._replace(
        predictions=dot(forecast.predictions, root),
        y=jnp.where(measured, dot(root, known), jnp.nan),
        error_model=model._replace(predict=predict, covariance=one, correlated=False),
    )


def _inverse_root(values: Float[Array, " m"]) -> tuple[Float[Array, " m"]]:
    """Return l^{-1/2}; an eigenvalue is known to a rounding of the largest."""
    floor = values.shape[-1] * jnp.finfo(values.dtype).eps * values[..., -1:]
    return (1 / jnp.sqrt(jnp.maximum(values, floor)),)
