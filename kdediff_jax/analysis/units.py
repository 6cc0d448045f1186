"""The units in which a scheme with an error model computes: every one near 1.

A pressure beside a mixing ratio, or a unit of 1e-9, then meets the floors of rounding of the later
stages as numbers of the same size. Units are powers of two, which cost no digit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from .._typing import Array, Float
from ..numerics import binary_unit, covariance_in_units, half_range, unit_of_spread, variances
from ..observations.error_model import ErrorModel
from .predict import Predicted


class Units(NamedTuple):
    """Powers of two near the forecast's spread and the measurement noise."""

    state: Float[Array, " d"]
    measured: Float[Array, " m"]


def units_of(forecast: Predicted) -> Units:
    """Return the units of each coordinate's spread and each component's noise.

    A component without noise has the unit of its predictions. One with next to none has theirs
    times eps: in units of the noise they would have no square.
    """
    values = forecast.predictions
    std = jnp.sqrt(variances(forecast.error_model.covariance))
    least = half_range(values) * float(jnp.finfo(values.dtype).eps)
    size = jnp.where(std > 0, jnp.maximum(std, least), unit_of_spread(values))
    return Units(unit_of_spread(forecast.members), binary_unit(size))


def in_units(forecast: Predicted, units: Units) -> Predicted:
    """Return the same forecast and error model, expressed in other units."""
    state, measured = units.state[None], units.measured[None]
    model = forecast.error_model

    def rescaled(function: Callable[[Array, Array], Array] | None) -> Any:
        if function is None:
            return None
        return lambda y, points: function(y * units.measured, points * state)

    return forecast._replace(
        members=forecast.members / state,
        predictions=forecast.predictions / measured,
        y=forecast.y / units.measured,
        error_model=ErrorModel(
            predict=lambda points: model.predict(points * state) / measured,
            covariance=covariance_in_units(model.covariance, units.measured),
            log_likelihood=rescaled(model.log_likelihood),
            components=rescaled(model.components),
            additive=model.additive,
            regressed=model.regressed,
            correlated=model.correlated,
        ),
    )
