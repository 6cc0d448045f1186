r"""Correlated measurement errors for schemes that localise component by component.

A component has a place and a precision of its own only where errors are independent. The symmetric
root makes them so: with R = V diag(l) V^T, the measurement

    R^{-1/2} y = R^{-1/2} h(x) + e,    R^{-1/2} = V diag(l^{-1/2}) V^T,    Cov[e] = I,

says the same. Blocks of R are taken one by one, and no matrix of all components is formed. Of all
roots it is the one whose components are nearest to the old ones (each over its standard deviation,
where R is diagonal), so that they keep their places: where errors are correlated over a distance,
so do the new components reach. The taper then multiplies the precision of each new component, which
need not cut a block at the edge of a neighbourhood as a whole.
"""

from __future__ import annotations

import jax.numpy as jnp

from .._typing import Array, Float
from ..numerics import (
    AbstractCovariance,
    apply_spectral,
    masked_covariance,
    mixed,
    split_missing,
)
from .predict import Predicted


def decorrelated(forecast: Predicted) -> Predicted:
    """Return the forecast with a measurement whose errors are independent, of unit variance.

    Args:
        forecast: in units near 1. Where its R is not stated as a matrix or as blocks, it is
            returned as it is.
    """
    model = forecast.error_model
    if not model.correlated:
        return forecast
    if isinstance(model.covariance, AbstractCovariance):
        raise ValueError(
            "observation: expected a `covariance` that is a diagonal, blocks or a matrix where a "
            "scheme localises component by component, got a structured one "
            f"({type(model.covariance).__name__}); blocks (b, s, s) of components that follow each "
            "other would do, and so would EnKF or ETKF"
        )
    known, measured = split_missing(forecast.y)
    noise, one = masked_covariance(model.covariance, measured), jnp.ones_like(forecast.y)
    # missing components are apart in R, and so in its root: they mix with none
    unit = jnp.broadcast_to(jnp.eye(noise.shape[-1], dtype=noise.dtype), noise.shape)
    (root,) = apply_spectral(_inverse_root, noise, (unit,))

    def predict(points: Array) -> Array:
        return mixed(model.predict(points), root)

    return forecast._replace(
        predictions=mixed(forecast.predictions, root),
        y=jnp.where(measured, mixed(known[None], root)[0], jnp.nan),
        error_model=model._replace(predict=predict, covariance=one, correlated=False),
    )


def _inverse_root(values: Float[Array, "*b m"]) -> tuple[Float[Array, "*b m"]]:
    """Return l^{-1/2}; an eigenvalue is known to a rounding of the largest."""
    floor = values.shape[-1] * jnp.finfo(values.dtype).eps * values[..., -1:]
    return (1 / jnp.sqrt(jnp.maximum(values, floor)),)
