"""Splits a measurement into its noise-free prediction and its noise, whatever is known of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from .._checks import choice
from .._linalg import solve
from .._typing import Array, Float, Key, Scalar, like
from ..observations import (
    AbstractAdditive,
    AbstractAdditiveGaussian,
    AbstractLikelihood,
    AbstractObservation,
)

KINDS = ("auto", "known", "sampled")
REPLICATES = 8


class Measurement(NamedTuple):
    """What an analysis with a noise of its own needs to know of a measurement.

    Attributes:
        predict: members [n d] -> noise-free predictions h(x_i) [n m].
        covariance: R, of the noise.
        log_likelihood: (y, members) -> log p(y | x_i) [n], where the density is known and not
            Gaussian, else None.
    """

    predict: Callable[[Float[Array, "n d"]], Float[Array, "n m"]]
    covariance: Float[Array, "m m"]
    log_likelihood: Callable[[Array, Array], Array] | None = None

    def log_components(
        self, y: Float[Array, " m"], members: Float[Array, "n d"], variance: Float[Array, " m"]
    ) -> Float[Array, "n m"]:
        """Return log p(y_k | x_i) of every component by itself, up to a constant of each.

        Args:
            y: the measurement; NaN components get 0.
            members: x_i.
            variance: of the noise, positive; used where its density is not known.
        """
        measured = ~jnp.isnan(y)
        if self.log_likelihood is None:
            known = jnp.where(measured, y, 0)[None]
            each = -0.5 * (known - self.predict(members)) ** 2 / variance[None]
        else:
            # NaN components say nothing: one component at a time is its own density
            log_likelihood = self.log_likelihood
            one = jnp.where(jnp.eye(y.shape[0], dtype=bool), y[None], jnp.nan)
            each = jax.vmap(lambda v: log_likelihood(v, members))(one).T
        return jnp.where(measured[None], each, 0)


def split(
    observation: AbstractObservation,
    key: Key,
    forecast: Float[Array, "n d"],
    t: Scalar,
    noise: str = "auto",
) -> Measurement:
    """Return prediction and noise of a measurement.

    "known" takes h and R from the observation. "sampled" needs only `sample`: h(x) is the mean of
    8 draws per member, R their pooled covariance; the draws' keys belong to the member, so that
    members that move see the same noise. "auto" takes what is known: h and R, else a density
    for the weights with h and R from draws, else draws alone.

    Raises:
        ValueError: an unknown kind of noise.
        TypeError: noise="known" with an observation that does not state h and R.
    """
    choice("noise", noise, KINDS)

    def density(y: Array, points: Array) -> Array:
        known = cast(AbstractLikelihood, observation)  # used for nothing else
        return jax.vmap(lambda x: known.log_likelihood(y, x, t))(points)

    if isinstance(observation, AbstractAdditive) and noise != "sampled":

        def mean(points: Array) -> Array:
            return jax.vmap(lambda x: observation.mean(x, t))(points)

        m = jax.eval_shape(mean, forecast).shape[1]
        r = observation.covariance(m, forecast.dtype, t)
        gaussian = isinstance(observation, AbstractAdditiveGaussian)
        return Measurement(mean, r, None if gaussian else density)
    if noise == "known":
        raise TypeError(
            "observation: expected one that states its mean and covariance (such as "
            f"GaussianObservation) for noise='known', got {type(observation).__name__}"
        )
    keys = jax.random.split(key, (forecast.shape[0], REPLICATES))

    def draws(points: Array) -> Array:
        one = jax.vmap(lambda k, x: observation.sample(k, x, t), in_axes=(0, None))
        return jax.vmap(one)(keys, points)

    drawn = draws(forecast)
    if drawn.ndim != 3:
        raise ValueError(
            f"observation: expected `sample` to return a vector (m,), got {drawn.shape[2:]}"
        )
    deviations = drawn - jnp.mean(drawn, axis=1, keepdims=True)
    usable = jnp.all(jnp.isfinite(deviations), axis=(1, 2))
    flat = jnp.where(usable[:, None, None], deviations, 0).reshape(-1, drawn.shape[2])
    freedom = jnp.maximum(jnp.sum(usable), 1) * (REPLICATES - 1)
    covariance = jnp.matmul(flat.T, flat, precision="highest") / like(flat, freedom)

    def mean_draw(points: Array) -> Array:
        return jnp.mean(draws(points), axis=1)

    if not isinstance(observation, AbstractLikelihood) or noise == "sampled":
        return Measurement(mean_draw, _positive(covariance))
    return Measurement(mean_draw, _positive(covariance), density)


def from_pairs(forecast: Float[Array, "n d"], predicted: Float[Array, "n m"]) -> Measurement:
    """Return prediction and noise from one simulated measurement per member, and no simulator.

    h is the linear regression of the measurements on the members, with a ridge of one member's
    weight; R is the covariance of its residuals, with the regression's degrees of freedom.
    """
    n = forecast.shape[0]
    x_mean, y_mean = jnp.mean(forecast, axis=0), jnp.mean(predicted, axis=0)
    x, y = forecast - x_mean[None], predicted - y_mean[None]
    scale = jnp.sqrt(jnp.mean(x**2, axis=0))
    scale = jnp.where(scale > 0, scale, 1)
    z = x / scale[None]
    gram = jnp.matmul(z.T, z, precision="highest")
    ridge = gram + jnp.eye(z.shape[1], dtype=z.dtype)
    slope = solve(ridge, jnp.matmul(z.T, y, precision="highest"))
    freedom = n - 1 - jnp.trace(solve(ridge, gram))
    residual = y - jnp.matmul(z, slope, precision="highest")
    covariance = jnp.matmul(residual.T, residual, precision="highest") / jnp.maximum(freedom, 1)

    def predict(points: Array) -> Array:
        moved = (points - x_mean[None]) / scale[None]
        return y_mean[None] + jnp.matmul(moved, slope, precision="highest")

    return Measurement(predict, _positive(covariance))


def _positive(covariance: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """Return the covariance with a floor: a component without noise is known to rounding only."""
    variance = jnp.diagonal(covariance)
    eps = jnp.finfo(covariance.dtype).eps
    largest = jnp.max(variance)
    return covariance + jnp.diag(eps * jnp.where(largest > 0, largest, 1) + 10 * eps * variance)
