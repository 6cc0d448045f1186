r"""Widens a forecast that calls the measurement next to impossible: the way back for a lost filter.

Two witnesses must agree. The Gaussian one compares D = e^T (P_hh + R)^{-1} e with chi-square; it
sees every direction, but calls outliers of a heavy-tailed noise and minor modes of the forecast
impossible too. The other one knows the noise's density and the forecast's shape, one component of
the measurement at a time: widening must make the measurement so much likelier that it outweighs the
odds against a lost filter,

    sum_k log [ mean_i p(y_k | wide x_i) / mean_i p(y_k | x_i) ] > log(odds).

Componentwise (a composite likelihood, Varin, Reid and Firth 2011) as few members can estimate a
density in one dimension, not in twenty.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular

from .._typing import Array, Bool, Float, Scalar, like
from .gains import dot
from .inflation import inflate
from .noise import Measurement

ODDS = 20.0  # against a lost filter: with 1 sound runs are widened, 20 and 100 give the same scores


def credible(
    members: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    y: Float[Array, " m"],
    measurement: Measurement,
    noise: Float[Array, "m m"],
    threshold: Scalar,
    taper: Float[Array, "m m"] | None = None,
) -> Float[Array, "n d"]:
    """Return the forecast, widened where both witnesses call the measurement surprising.

    Args:
        members: finite forecast.
        alive: members of no weight are False.
        y: the measurement; NaN components say nothing.
        measurement: prediction and noise.
        noise: R, missing components cut off.
        threshold: of the Gaussian witness, see `surprise_factor`.
        taper: multiplies the sample covariance of the predictions, where there is a localisation.
    """
    measured = ~jnp.isnan(y)
    predicted = measurement.predict(members)
    middle = jnp.mean(predicted, axis=0)
    deviations = jnp.where(measured[None], predicted - middle[None], 0)
    signal = dot(deviations.T, deviations) / (members.shape[0] - 1)
    signal = signal if taper is None else taper * signal
    e = jnp.where(measured, jnp.where(measured, y, 0) - middle, 0)
    factor = surprise_factor(e, signal, noise, jnp.sum(measured), threshold)
    wide = inflate(members, factor)

    def evidence(points: Array) -> Float[Array, " m"]:
        each = measurement.log_components(y, points, jnp.diagonal(noise))
        total = jax.nn.logsumexp(jnp.where(alive[:, None], each, -jnp.inf), axis=0)
        return jnp.maximum(total, jnp.finfo(total.dtype).min / y.shape[0])

    before, after = evidence(members), evidence(wide)
    # where no member allows the measurement at all, nothing can speak against widening
    impossible = jnp.any(measured & (before == jnp.finfo(before.dtype).min / y.shape[0]))
    likelier = jnp.sum(jnp.where(measured, after - before, 0)) > math.log(ODDS)
    return jnp.where((factor > 1) & (likelier | impossible), wide, members)


def surprise_factor(
    innovation: Float[Array, " m"],
    signal: Float[Array, "m m"],
    noise: Float[Array, "m m"],
    components: Array,
    threshold: Scalar | float,
    largest: float = 10.0,
) -> Scalar:
    r"""Return the factor of the forecast anomalies that makes a surprising measurement credible.

    For a sound Gaussian forecast D = e^T (P_hh + R)^{-1} e, e = y - mean h, is chi-square with m
    degrees of freedom. Where D > m + threshold sqrt(2 m), the smallest factor f is taken for which
    D(f), computed with f^2 P_hh, is not; elsewhere 1.

    Args:
        innovation: e, 0 where nothing is measured.
        signal: P_hh.
        noise: R.
        components: m, the number of components measured.
        threshold: in standard deviations of the chi-square variable.
        largest: bound of the factor.
    """
    root = jnp.linalg.cholesky(noise)
    e = solve_triangular(root, innovation[:, None], lower=True)
    half = solve_triangular(root, signal, lower=True)
    values, vectors = jnp.linalg.eigh(solve_triangular(root, half.T, lower=True))
    squares = jnp.matmul(vectors.T, e, precision="highest")[:, 0] ** 2
    values = jnp.maximum(values, 0)
    m = components.astype(innovation.dtype)
    bound = m + like(innovation, threshold) * jnp.sqrt(2 * m)

    def surprising(log_factor: Array) -> Array:
        return jnp.sum(squares / (1 + jnp.exp(2 * log_factor) * values)) > bound

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        more = surprising(middle)
        return jnp.where(more, middle, low), jnp.where(more, high, middle)

    none = jnp.zeros((), innovation.dtype)
    bracket = none, jnp.full((), math.log(largest), innovation.dtype)
    _, high = lax.fori_loop(0, 12, halve, bracket)
    return jnp.exp(jnp.where(surprising(none), high, none))
