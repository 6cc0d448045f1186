r"""Ensemble transform Kalman filter: the deterministic Gaussian baseline.

Source: Bishop, Etherton and Majumdar 2001, Mon. Wea. Rev. 129, 420.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from .._checks import positive
from .._typing import Key, Number, like, tunable
from ..ensemble.inflation import Inflation, SamplingInflation, as_inflation, restore_spread
from ..ensemble.rotation import rotate
from ..ensemble.transform import transform
from ..observations.noise import AbstractNoise, AutoNoise, as_noise
from .base import AbstractKalmanAnalysis
from .outcome import Outcome
from .predict import Predicted


class ETKF(AbstractKalmanAnalysis):
    r"""Square-root EnKF in ensemble space, with the symmetric root.

    The equations are those of `kdediff_jax.ensemble.transform`.

    Args:
        inflation: factor of the analysis anomalies, or a rule.
        rotation_angle: angle in radians of random rotations of the analysis anomalies that keep
            mean and covariance, see `kdediff_jax.ensemble.rotation`; 0 for none. Where the dynamics
            are far from linear a square-root filter is better with it; 1 is a start.
        noise: where h and R come from, see `EnKF`.

    Raises:
        ValueError: inflation not positive, a negative angle, an unknown option.
    """

    inflation: Inflation = eqx.field(
        converter=as_inflation, kw_only=True, default_factory=SamplingInflation
    )
    rotation_angle: Number = tunable(0.0, kw_only=True)
    noise: AbstractNoise = eqx.field(converter=as_noise, kw_only=True, default_factory=AutoNoise)

    def __check_init__(self) -> None:
        """Check the angle."""
        positive("rotation_angle", self.rotation_angle, zero=True)

    def condition(self, key: Key, forecast: Predicted) -> Outcome:
        """Transform the anomalies by one matrix, rotate them."""
        n = forecast.members.shape[0]
        both = jnp.concatenate([forecast.deviations, forecast.mean_innovation[None]], axis=0)
        scaled = forecast.whitened(both)
        increment, anomalies, freedom = transform(scaled[:n], scaled[n], forecast.anomalies)
        mean = jnp.mean(forecast.members, axis=0) + increment
        analysis = restore_spread(self.inflation, forecast.members, mean[None] + anomalies, freedom)
        analysis = rotate(key, analysis, like(analysis, self.rotation_angle))
        return Outcome(analysis, jnp.mean(analysis, axis=0), like(analysis, n), forecast.alive)
