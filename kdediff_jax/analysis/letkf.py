r"""Local ensemble transform Kalman filter: the deterministic Gaussian baseline of large systems.

Source: Hunt, Kostelich and Szunyogh 2007, Physica D 230, 112.
"""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp

from .._checks import positive
from .._typing import Key, Number, like, tunable
from ..ensemble.abstract_localisation import AbstractLocalisation, checked_localisation
from ..ensemble.inflation import Inflation, SamplingInflation, as_inflation, restore_spread
from ..ensemble.neighbours import reach
from ..ensemble.rotation import rotate
from ..ensemble.transform import local_transform
from ..observations.noise import AbstractNoise, AutoNoise, as_noise
from .base import AbstractKalmanAnalysis
from .decorrelation import decorrelated
from .outcome import Outcome
from .predict import Predicted


class LETKF(AbstractKalmanAnalysis):
    r"""Square-root EnKF with a transform for every coordinate.

    The equations are those of `kdediff_jax.ensemble.transform`; the precision of each measurement
    is multiplied by its taper for the coordinate. A stated R that is not diagonal is made so
    (`kdediff_jax.analysis.decorrelation`); of an estimated one the diagonal is used.

    Args:
        localisation: where coordinates and measurements are, or `CorrelationLocalisation()`.
        inflation: factor of the analysis anomalies, or a rule, which here follows each
            coordinate's own degrees of freedom.
        rotation_angle: angle in radians of random rotations of the analysis anomalies, see `ETKF`.
            Coordinates far from every measurement are not rotated.
        noise: where h and R come from, see `EnKF`.

    Raises:
        ValueError: inflation not positive, a negative angle, an unknown option, positions that do
            not fit (when called).
        TypeError: a localisation of another kind.
    """

    localisation: AbstractLocalisation = eqx.field(converter=checked_localisation)
    inflation: Inflation = eqx.field(
        converter=as_inflation, kw_only=True, default_factory=SamplingInflation
    )
    rotation_angle: Number = tunable(0.0, kw_only=True)
    noise: AbstractNoise = eqx.field(converter=as_noise, kw_only=True, default_factory=AutoNoise)
    independent: ClassVar[bool] = True
    localised: ClassVar[bool] = True

    def __check_init__(self) -> None:
        """Check the angle."""
        positive("rotation_angle", self.rotation_angle, zero=True)

    def condition(self, key: Key, forecast: Predicted) -> Outcome:
        """Transform the anomalies coordinate by coordinate, rotate them."""
        forecast = decorrelated(forecast._replace(error_model=forecast.error_model.moments()))
        members, dtype = forecast.members, forecast.members.dtype
        n = members.shape[0]
        near = self.localisation.around(forecast.anomalies, forecast.deviations, forecast.t)
        whole = jnp.ones((1,), dtype)  # of the likelihood
        moved, freedom = local_transform(
            forecast.anomalies,
            forecast.deviations,
            forecast.mean_innovation,
            near,
            forecast.noise_variance,
            whole,
        )
        analysis = jnp.mean(members, axis=0, keepdims=True) + moved[0]
        reached = reach(near, forecast.measured)  # 0 where no measurement reaches
        wider = restore_spread(self.inflation, members, analysis, freedom)
        analysis = jnp.where(reached[None] > 0, wider, analysis)
        analysis = rotate(key, analysis, like(members, self.rotation_angle) * reached)
        return Outcome(
            analysis,
            jnp.mean(analysis, axis=0),
            like(analysis, n),
            forecast.alive,
            num_unreached=jnp.sum(reached == 0, dtype=jnp.int32),
        )
