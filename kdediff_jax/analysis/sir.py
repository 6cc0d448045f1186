"""Sequential importance resampling (bootstrap particle filter), the exact-likelihood baseline."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp

from .. import kde
from .._checks import choice, ensemble, positive, vector
from .._tracing import errors_in_users_words
from .._typing import Array, Bool, Float, Int, Key, Number, Scalar, like, numbers_to_leaves, tunable
from ..ensemble.resampling import SCHEMES, resample
from ..numerics import apply_spectral, dot, rarely, safe_sqrt, unit_of_spread, variances
from ..observations.additive import AbstractAdditive
from ..observations.base import AbstractLikelihood, AbstractObservation
from ..observations.error_model import component_densities, density, from_statement
from .base import AbstractAnalysis
from .outcome import AnalysisInfo, Outcome
from .safeguards import normalised_innovation


class SIR(AbstractAnalysis):
    r"""Weight by the likelihood, resample every cycle, optionally jitter.

    Source: Gordon, Salmond and Smith 1993; jitter as the regularised particle filter of Musso,
    Oudjane and Le Gland 2001: x_i + reg N^(-1/(d+4)) C^(1/2) z_i, z_i ~ N(0, I), with C the
    weighted covariance before resampling. With log-likelihoods of one's own, call `update`.

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
        log_likelihoods = self._judge(forecast, alive, y, observation, t)
        outcome = self._resampled(key, forecast, alive, log_likelihoods)
        return outcome._replace(normalised_innovation=innovation_of(observation, forecast, y, t))

    def update(
        self, key: Key, forecast: Float[Array, "n d"], log_likelihoods: Float[Array, " n"]
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        """Condition on a measurement given the members' log-likelihoods, with no observation.

        Other filters' `update` takes pairs (x_i, y_i) of an archive; SIR weighs by a density, which
        pairs do not have. For pairs alone use `EnKPF` or `KDEDiffusion`. It is compiled on first
        use, as a call is.

        Args:
            key: random key.
            forecast: members x_i.
            log_likelihoods: log p(y | x_i), up to a constant that all share; -inf where x_i cannot
                be, NaN (or +inf) where it cannot be judged: that member is left out.

        Returns:
            analysis ensemble [n d] and `AnalysisInfo`, without a normalised innovation.

        Raises:
            ValueError: shapes that do not fit, such as those of pairs; fewer than two members.
            TypeError: a non-floating dtype.
        """
        forecast = ensemble("forecast", forecast)
        log_likelihoods = like(
            forecast, vector("log_likelihoods", log_likelihoods, forecast.shape[0])
        )
        with errors_in_users_words(None, None, self):
            return numbers_to_leaves(self)._update(key, forecast, log_likelihoods)

    @eqx.filter_jit
    def _update(
        self, key: Key, forecast: Float[Array, "n d"], log_likelihoods: Float[Array, " n"]
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        members, alive = self.safeguards.admit(forecast)
        judged = jnp.where(log_likelihoods == jnp.inf, jnp.nan, log_likelihoods)
        outcome = self._resampled(key, members, alive, judged)
        measured = jnp.zeros(1, forecast.dtype)  # something was: its values are the caller's
        return self.safeguards.settle(forecast, members, measured, outcome)

    def _resampled(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        log_likelihoods: Float[Array, " n"],
    ) -> Outcome:
        """Return the draws of members with these log-likelihoods, NaN for no say."""
        draw_key, jitter_key = jax.random.split(key)
        alive = alive & ~jnp.isnan(log_likelihoods)
        log_weights = jax.nn.log_softmax(jnp.where(alive, log_likelihoods, -jnp.inf))
        weights = jnp.exp(log_weights)
        origin = forecast[jnp.argmax(weights)]  # a far member of no weight costs no digits
        mean = origin + dot(weights, forecast - origin[None])
        drawn = resample(draw_key, log_weights, forecast.shape[0], self.resampling)
        noise = self._jitter(jitter_key, forecast - mean[None], weights)
        if self.jittered == "duplicates":
            noise = jnp.where(_first_copies(drawn)[:, None], 0, noise)
        ess = kde.effective_sample_size(log_weights)
        return Outcome(forecast[drawn] + noise, mean, ess, alive)

    def _judge(
        self,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        observation: AbstractLikelihood,
        t: Scalar,
    ) -> Float[Array, " n"]:
        """Return the log-likelihoods, NaN for members that the likelihood cannot judge."""
        log_likelihood = density(observation, t)
        whole = log_likelihood(y, forecast)
        if whole.ndim != 1:
            raise ValueError(
                f"observation: expected a scalar log_likelihood, got shape {whole.shape[1:]}"
            )
        none = jnp.isnan(whole)
        return rarely(
            jnp.any(none & alive),
            lambda: jnp.where(none, by_components(log_likelihood, y, forecast), whole),
            lambda: whole,
        )

    def _jitter(
        self, key: Key, anomalies: Float[Array, "n d"], weights: Float[Array, " n"]
    ) -> Float[Array, "n d"]:
        """Return draws of N(0, (reg N^(-1/(d+4)))^2 C), C the weighted covariance."""
        n, d = anomalies.shape
        width = like(anomalies, self.jitter) * n ** (-1 / (d + 4))

        def draw() -> Array:
            unit = unit_of_spread(anomalies)[None]
            scaled = anomalies / unit
            covariance = dot((weights[:, None] * scaled).T, scaled)
            z = jax.random.normal(key, (d, n), anomalies.dtype)
            (noise,) = apply_spectral(lambda values: (safe_sqrt(values),), covariance, (z,))
            return width * unit * noise.T

        # without jitter the root is a waste of time
        return lax.cond(width > 0, draw, lambda: jnp.zeros_like(anomalies))


def by_components(
    log_likelihood: Callable[[Array, Array], Array],
    y: Float[Array, " m"],
    forecast: Float[Array, "n d"],
) -> Float[Array, " n"]:
    """Return the log-likelihood as a sum over components, for members that lack some of them.

    A component that a member cannot predict counts as it does for the mean of the others; NaN for
    a member that can predict fewer than half of what is measured.

    Args:
        log_likelihood: (y, members) -> log p(y | x_i) [n]; NaN components of y say nothing.
        y: the measurement.
        forecast: members.
    """
    measured = ~jnp.isnan(y)
    each = component_densities(log_likelihood, y, forecast)
    known = ~jnp.isnan(each)
    enough = 2 * jnp.sum(known & measured[None], axis=1) >= jnp.sum(measured)
    measured = measured & jnp.any(known, axis=0)  # what nobody predicts compares with nothing
    count = jnp.sum(known, axis=0, dtype=each.dtype)
    mean = logsumexp(jnp.where(known, each, -jnp.inf), axis=0) - jnp.log(count)
    each = jnp.where(known, each, mean[None])
    return jnp.where(enough, jnp.sum(jnp.where(measured[None], each, 0), axis=1), jnp.nan)


def innovation_of(
    observation: AbstractObservation,
    forecast: Float[Array, "n d"],
    y: Float[Array, " m"],
    t: Scalar,
) -> Scalar:
    """Return the normalised innovation where the observation states h and R, else NaN."""
    if not isinstance(observation, AbstractAdditive):
        return like(forecast, jnp.nan)
    model = from_statement(observation, forecast, t)
    predictions = model.predict(forecast)
    known = jnp.isfinite(predictions)
    measured = ~jnp.isnan(y) & (jnp.sum(known, axis=0) > 1)
    mean = jnp.mean(predictions, axis=0, where=known)
    innovation = jnp.where(measured, y - mean, 0)
    variance = jnp.var(predictions, axis=0, ddof=1, where=known) + variances(model.covariance)
    return normalised_innovation(innovation, variance, measured)


def _first_copies(drawn: Int[Array, " n"]) -> Bool[Array, " n"]:
    """Return which draws are the first of their member."""
    n = drawn.shape[0]
    place = jnp.arange(n)
    return place == jnp.full(n, n).at[drawn].min(place)[drawn]
