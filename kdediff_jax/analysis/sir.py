"""Sequential importance resampling (bootstrap particle filter), the exact-likelihood baseline."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .. import kde
from .._checks import choice, positive
from .._linalg import eigh
from .._typing import Array, Bool, Float, Key, Number, Scalar, like, tunable
from ..observations import AbstractLikelihood, AbstractObservation
from .base import AbstractAnalysis, Outcome
from .resampling import SCHEMES, resample


class SIR(AbstractAnalysis):
    r"""Weight by the likelihood, resample every cycle, optionally jitter.

    Source: Gordon, Salmond and Smith 1993; jitter as the regularised particle filter of Musso,
    Oudjane and Le Gland 2001: x_i + reg N^(-1/(d+4)) C^(1/2) z_i, z_i ~ N(0, I), with C the
    weighted covariance before resampling.

    Args:
        jitter: reg; 0 switches it off.
        resampling: "systematic", "stratified" or "multinomial".
        jittered: "duplicates" moves the second and further copies of a member only, so that a
            cycle that measures little adds little noise; "all" moves every member.

    Raises:
        ValueError: negative jitter, an unknown scheme.
        TypeError: an observation without `log_likelihood`.
    """

    jitter: Number = tunable(0.0)
    resampling: str = eqx.field(static=True, default="systematic")
    jittered: str = eqx.field(static=True, default="duplicates")

    def __check_init__(self) -> None:
        """Check the options."""
        positive("jitter", self.jitter, zero=True)
        choice("resampling", self.resampling, SCHEMES)
        choice("jittered", self.jittered, ("duplicates", "all"))

    def analyse(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar,
    ) -> Outcome:
        """Weight, take the weighted mean, resample, jitter."""
        if not isinstance(observation, AbstractLikelihood):
            raise TypeError(
                "observation: SIR expected one with `log_likelihood` (an AbstractLikelihood), "
                f"got {type(observation).__name__}, which can only be sampled"
            )
        n, d = forecast.shape
        log_weights = jax.vmap(lambda x: observation.log_likelihood(y, x, t))(forecast)
        if log_weights.ndim != 1:
            raise ValueError(
                f"observation: expected a scalar log_likelihood, got shape {log_weights.shape[1:]}"
            )
        # a member the likelihood calls impossible, or cannot judge, has no weight
        alive = alive & ~jnp.isnan(log_weights)
        log_weights = jnp.where(alive, log_weights, -jnp.inf)
        log_weights = jax.nn.log_softmax(log_weights)
        weights = jnp.exp(log_weights)
        origin = jnp.mean(forecast, axis=0)
        centred = forecast - origin[None]
        shift = jnp.matmul(weights, centred, precision="highest")
        draw_key, jitter_key = jax.random.split(key)
        drawn = resample(draw_key, log_weights, n, self.resampling)
        width = like(forecast, self.jitter) * n ** (-1 / (d + 4))

        def kernel_noise() -> Array:
            anomalies = (centred - shift[None]) * jnp.sqrt(weights)[:, None]
            covariance = jnp.matmul(anomalies.T, anomalies, precision="highest")
            values, vectors = eigh(covariance)
            root = vectors * jnp.sqrt(jnp.maximum(values, 0))[None]
            z = jax.random.normal(jitter_key, (n, d), forecast.dtype)
            return width * jnp.matmul(z, root.T, precision="highest")

        # without jitter the eigenvectors are a waste of time
        noise = lax.cond(width > 0, kernel_noise, lambda: jnp.zeros_like(forecast))
        if self.jittered == "duplicates":
            place = jnp.arange(n)
            first = place == jnp.full(n, n).at[drawn].min(place)[drawn]
            noise = jnp.where(first[:, None], 0, noise)
        analysis = forecast[drawn] + noise
        ess = kde.effective_sample_size(log_weights)
        return Outcome(analysis, origin + shift, ess, alive)
