"""Ensemble transform Kalman filter, global or local: the deterministic Gaussian baseline."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .._checks import choice, positive, vector
from .._linalg import cholesky, solve_lower
from .._typing import Array, Bool, Float, Key, Number, Scalar, like, tunable
from ..observations import AbstractObservation
from .base import AbstractAnalysis, Outcome, with_stand_ins
from .covariance_kernel import masked_noise
from .inflation import SamplingInflation, check_inflation
from .localisation import Localisation, reach
from .noise import KINDS, split
from .rotation import rotate
from .transform import COORDINATES_AT_ONCE, Spectrum, decompose, decompose_near, transform


class ETKF(AbstractAnalysis):
    r"""Square-root EnKF in ensemble space (Bishop, Etherton and Majumdar 2001).

    The equations are those of `kdediff_jax.analysis.transform`, with the symmetric root. With a
    localisation every coordinate has a transform of its own, in which the precision of each
    measurement is multiplied by the taper (LETKF, Hunt, Kostelich and Szunyogh 2007); R must then
    be diagonal, and its diagonal is used.

    Args:
        inflation: factor of the analysis anomalies, or `SamplingInflation()`, which here follows
            each coordinate's own degrees of freedom.
        localisation: None for one global transform.
        rotation: angle in radians of random rotations of the analysis anomalies that keep mean and
            covariance, see `kdediff_jax.analysis.rotation`; 0 for none. Where the dynamics are far
            from linear a square-root filter is better with it; 1 is a start.
        noise: "known", "sampled" or "auto", see `kdediff_jax.analysis.noise`.

    Raises:
        ValueError: inflation not positive, a negative rotation, an unknown option, positions that
            do not fit.
        TypeError: a localisation of another kind.
    """

    inflation: Any = tunable(default_factory=SamplingInflation)
    localisation: Localisation | None = None
    rotation: Number = tunable(0.0)
    noise: str = eqx.field(static=True, default="auto")

    def __check_init__(self) -> None:
        """Check the options."""
        check_inflation(self.inflation)
        positive("rotation", self.rotation, zero=True)
        choice("noise", self.noise, KINDS)
        if self.localisation is not None and not isinstance(self.localisation, Localisation):
            raise TypeError(f"localisation: expected a Localisation, got {self.localisation!r}")

    def analyse(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar,
    ) -> Outcome:
        """Transform the anomalies."""
        predict_key, turn_key = jax.random.split(key)
        measurement = split(observation, predict_key, forecast, t, self.noise)
        n, d = forecast.shape
        predicted = measurement.predict(forecast)
        m = vector("y", y, predicted.shape[1]).shape[0]
        pairs, alive = with_stand_ins(jnp.concatenate([forecast, predicted], axis=1), alive)
        forecast, predicted = pairs[:, :d], pairs[:, d:]
        measured = ~jnp.isnan(y)
        middle = jnp.mean(predicted, axis=0)
        deviations = jnp.where(measured[None], predicted - middle[None], 0)
        innovation = jnp.where(measured, jnp.where(measured, y, 0) - middle, 0)
        noise = masked_noise(measurement.covariance, measured)
        mean = jnp.mean(forecast, axis=0)
        anomalies = forecast - mean[None]
        if self.localisation is None:
            root = cholesky(noise)
            both = jnp.concatenate([deviations, innovation[None]], axis=0)
            scaled = solve_lower(root, both.T).T
            analysis = self._transform(decompose(scaled[:n], scaled[n]), anomalies)
            near = jnp.ones((), forecast.dtype)
        else:
            taper = self.localisation.taper(d, m, forecast.dtype)
            variances = jnp.diagonal(noise)

            def one(column):
                anomaly, weights = column
                spectrum = decompose_near(deviations, innovation, weights, variances)
                return self._transform(spectrum, anomaly[:, None])[:, 0]

            analysis = lax.map(one, (anomalies.T, taper), batch_size=COORDINATES_AT_ONCE).T
            near = reach(taper, measured)
        angle = like(forecast, self.rotation) * near  # none far from every measurement
        analysis = rotate(turn_key, mean[None] + analysis, angle)
        return Outcome(analysis, jnp.mean(analysis, axis=0), like(forecast, n), alive)

    def _transform(self, spectrum: Spectrum, anomalies: Float[Array, "n k"]) -> Array:
        """Return the analysis anomalies and the mean's increment, summed."""
        increment, spread = transform(spectrum, anomalies)
        factor = self.inflation
        if isinstance(factor, SamplingInflation):
            factor = factor.of(spectrum.freedom(), anomalies.shape[0])
        return like(anomalies, factor) * spread + increment[None]
