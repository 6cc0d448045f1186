"""Stochastic ensemble Kalman filter, the Gaussian baseline."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .._checks import choice, vector
from .._linalg import cho_solve, cholesky, eigh
from .._typing import Array, Bool, Float, Key, Number, Scalar, like, tunable
from ..observations import AbstractAdditive, AbstractObservation, sample_ensemble
from .base import AbstractAnalysis, Outcome, with_stand_ins
from .covariance_kernel import masked_noise
from .gains import dot
from .inflation import check_inflation, inflate, resolve_inflation


class EnKF(AbstractAnalysis):
    r"""Perturbed-observation EnKF (Burgers, van Leeuwen and Evensen 1998).

    With P_xh, P_hh the sample covariances (divisor N - 1) of state and predicted measurement:

        noise="known":    x_i + P_xh (P_hh + R)^{-1} (y + e_i - h(x_i)),  e_i ~ N(0, R), centred
        noise="sampled":  x_i + P_xy P_yy^+ (y - y_i),  y_i = `observation.sample` (R not needed)

    Args:
        inflation: the analysis anomalies are multiplied by it (1 switches it off);
            `SamplingInflation()` chooses it every cycle.
        noise: "known", "sampled", or "auto": known where the observation states h and R.

    Raises:
        ValueError: inflation not positive, an unknown option.
        TypeError: noise="known" with an observation that does not state h and R.
    """

    inflation: Number = tunable(1.0)
    noise: str = eqx.field(static=True, default="auto")

    def __check_init__(self) -> None:
        """Check the options."""
        check_inflation(self.inflation)
        choice("noise", self.noise, ("auto", "known", "sampled"))

    def analyse(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar,
    ) -> Outcome:
        """Move every member by the ensemble's own Kalman gain."""
        if self.noise == "known" and not isinstance(observation, AbstractAdditive):
            raise TypeError(
                "observation: expected one that states its mean and covariance (such as "
                f"GaussianObservation) for noise='known', got {type(observation).__name__}"
            )
        n, d = forecast.shape
        if self.noise != "sampled" and isinstance(observation, AbstractAdditive):
            predicted = jax.vmap(lambda x: observation.mean(x, t))(forecast)
            m = predicted.shape[1]
            r = observation.covariance(m, forecast.dtype, t)
            e = jax.random.normal(key, (n, m), forecast.dtype)
            # centring shrinks the variance
            e = (e - jnp.mean(e, axis=0, keepdims=True)) * (n / (n - 1)) ** 0.5
            perturbation = dot(e, cholesky(r).T)
        else:
            predicted = sample_ensemble(observation, key, forecast, t)
            m = predicted.shape[1]
            r = jnp.zeros((m, m), forecast.dtype)
            perturbation = jnp.zeros((1, 1), forecast.dtype)
        vector("y", y, m)
        # a member whose prediction is not finite is replaced together with it: pairs stay pairs
        pairs, alive = with_stand_ins(jnp.concatenate([forecast, predicted], axis=1), alive)
        forecast, predicted = pairs[:, :d], pairs[:, d:]
        measured = ~jnp.isnan(y)
        known = jnp.where(measured, y, 0)[None]
        innovation = jnp.where(measured[None], known + perturbation - predicted, 0)
        x_anomalies = forecast - jnp.mean(forecast, axis=0, keepdims=True)
        # a missing component has no anomalies and unit variance: its gain is zero
        anomalies = predicted - jnp.mean(predicted, axis=0, keepdims=True)
        anomalies = jnp.where(measured[None], anomalies, 0)
        signal = dot(anomalies.T, anomalies) / (n - 1)
        noise = masked_noise(r, measured)
        s = signal + noise
        transposed_gain = _solve(s, dot(anomalies.T, x_anomalies) / (n - 1))
        factor = resolve_inflation(self.inflation, signal, noise, n)
        analysis = inflate(forecast + dot(innovation, transposed_gain), factor)
        return Outcome(analysis, jnp.mean(analysis, axis=0), like(forecast, n), alive)


def _solve(s: Float[Array, "m m"], b: Float[Array, "m d"]) -> Float[Array, "m d"]:
    """Return the pseudo-inverse of S times b: with R unknown S has rank N - 1 at most."""
    # as correlations, so that the units of the components do not decide what counts as zero
    scale = jnp.sqrt(jnp.diagonal(s))
    scale = jnp.where(scale > 0, scale, 1)[:, None]
    s, b = s / (scale * scale.T), b / scale
    # NaN, where S is not definite, compares as False, and must not reach a derivative
    pivots = jnp.diagonal(cholesky(lax.stop_gradient(s)))
    definite = jnp.min(pivots) ** 2 > s.shape[0] * jnp.finfo(s.dtype).eps
    # eigenvectors take several times as long: only where they are needed
    return lax.cond(definite, _solve_definite, _solve_any, s, b) / scale


def _solve_definite(s: Float[Array, "m m"], b: Float[Array, "m d"]) -> Float[Array, "m d"]:
    return cho_solve(cholesky(s), b)


def _solve_any(s: Float[Array, "m m"], b: Float[Array, "m d"]) -> Float[Array, "m d"]:
    values, vectors = eigh(s)
    floor = jnp.max(jnp.abs(values)) * s.shape[0] * jnp.finfo(s.dtype).eps
    inverse = jnp.where(values > floor, 1 / jnp.where(values > floor, values, 1), 0)
    return dot(vectors, inverse[:, None] * dot(vectors.T, b))
