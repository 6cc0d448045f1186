"""Ensemble transform Kalman filter, global or local: the deterministic Gaussian baseline."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .._checks import choice, vector
from .._typing import Array, Bool, Float, Key, Scalar, like, tunable
from ..observations import AbstractObservation
from .base import AbstractAnalysis, Outcome, with_stand_ins
from .covariance_kernel import masked_noise
from .gains import dot
from .inflation import SamplingInflation, check_inflation
from .localisation import Localisation
from .noise import KINDS, split

COORDINATES_AT_ONCE = 64


class ETKF(AbstractAnalysis):
    r"""Square-root EnKF in ensemble space (Bishop, Etherton and Majumdar 2001).

    With A the anomalies, S = R^{-1/2} Y / sqrt(N - 1) those of the predicted measurements and
    S S^T = V diag(l) V^T (N x N):

        mean + A^T V (1 + l)^{-1} V^T S R^{-1/2} (y - mean h) / sqrt(N - 1),
        anomalies V (1 + l)^{-1/2} V^T A (the symmetric root).

    With a localisation every coordinate has a transform of its own, in which the precision of each
    measurement is multiplied by the taper (LETKF, Hunt, Kostelich and Szunyogh 2007); R must then
    be diagonal, and its diagonal is used.

    Args:
        inflation: factor of the analysis anomalies, or `SamplingInflation()`, which here follows
            each coordinate's own degrees of freedom.
        localisation: None for one global transform.
        noise: "known", "sampled" or "auto", see `kdediff_jax.analysis.noise`.

    Raises:
        ValueError: inflation not positive, an unknown option, positions that do not fit.
        TypeError: a localisation of another kind.
    """

    inflation: Any = tunable(default_factory=SamplingInflation)
    localisation: Localisation | None = None
    noise: str = eqx.field(static=True, default="auto")

    def __check_init__(self) -> None:
        """Check the options."""
        check_inflation(self.inflation)
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
        measurement = split(observation, key, forecast, t, self.noise)
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
            root = jnp.linalg.cholesky(noise)
            both = jnp.concatenate([deviations, innovation[None]], axis=0)
            scaled = jax.scipy.linalg.solve_triangular(root, both.T, lower=True).T
            analysis = self._transform(scaled[:n], scaled[n], anomalies)
        else:
            taper = self.localisation.taper(d, m, forecast.dtype)
            precision = taper / jnp.diagonal(noise)[None]

            def one(column):
                anomaly, weight = column
                # no square root of zero: its gradient is infinite
                far = weight == 0
                scale = jnp.where(far, 0, jnp.sqrt(jnp.where(far, 1, weight)))
                return self._transform(
                    deviations * scale[None], innovation * scale, anomaly[:, None]
                )[:, 0]

            analysis = lax.map(one, (anomalies.T, precision), batch_size=COORDINATES_AT_ONCE).T
        analysis = mean[None] + analysis
        return Outcome(analysis, jnp.mean(analysis, axis=0), like(forecast, n), alive)

    def _transform(
        self, scaled: Float[Array, "n m"], innovation: Float[Array, " m"], anomalies: Array
    ) -> Float[Array, "n k"]:
        """Return the analysis anomalies and the mean's increment, summed."""
        n = scaled.shape[0]
        scaled = scaled / (n - 1) ** 0.5
        values, vectors = jnp.linalg.eigh(dot(scaled, scaled.T))
        values = jnp.maximum(values, 0)
        inner = dot(vectors.T, dot(scaled, innovation[:, None])) / (1 + values)[:, None]
        weights = dot(vectors, inner)[:, 0] / (n - 1) ** 0.5
        spread = dot(vectors, dot(vectors.T, anomalies) / jnp.sqrt(1 + values)[:, None])
        factor = self.inflation
        if isinstance(factor, SamplingInflation):
            factor = factor.of(jnp.sum(values / (1 + values)), n)
        return like(scaled, factor) * spread + dot(weights[None], anomalies)
