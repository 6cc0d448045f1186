r"""Adapts the spread of a forecast to what the measurement says of it: statistics of innovations.

With e = y - mean h, and a factor f of the forecast's anomalies, a Gaussian forecast says
e ~ N(0, f^2 P_hh + R). Two things follow from one innovation.

Every cycle, the most probable f is taken, with log f^2 ~ N(0, s^2) before: a forecast a little too
sure or unsure of itself is corrected a little, the more, the more components are measured (in the
manner of Anderson 2009, without its memory).

A lost filter is far outside: where D = e^T (P_hh + R)^{-1} e is more than chi-square allows, the
smallest f that makes it credible is taken, for the part of the anomalies that is linear in the
predictions, P_xh P_hh^{-1} (h_i - mean h): of coordinates that the predictions do not depend on,
the measurement does not say that they are wrong, and nothing would call them back. Chi-square calls
outliers of a heavy-tailed noise and minor modes of the forecast impossible too, so a second witness
must agree, one that knows the noise's density and the forecast's shape, one component of the
measurement at a time: widening must make the measurement so much likelier that it outweighs the
odds against a lost filter,

    sum_k log [ mean_i p(y_k | wide x_i) / mean_i p(y_k | x_i) ] > log(odds).

Componentwise (a composite likelihood, Varin, Reid and Firth 2011) as few members can estimate a
density in one dimension, not in twenty.

Where there is a localisation, components count as independent. Every coordinate can be lost by
itself: its sums are weighted by the taper. The factor of all others is one, from the components
that are no surprise; a few that saturate must not widen a whole field.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._linalg import cholesky, eigh, solve_lower
from .._typing import Array, Bool, Float, Scalar, like
from .covariance_kernel import floored_root
from .gains import dot
from .inflation import inflate
from .noise import Measurement

ODDS = 20.0  # against a lost filter: with 1 sound runs are widened, 20 and 100 give the same scores
LARGEST = 10.0  # factor that a surprise may give
COMPONENT = 4.0  # standard deviations above what chi-square allows one component


class Innovation(NamedTuple):
    """Where R = I and P_hh is diagonal: its diagonal, the squared innovation, and weights.

    Weights are 1, or those of every component for every coordinate [d m]. Then the sums over the
    measured components of weights and of squared weights: mean of D and half of its variance.
    """

    values: Float[Array, "*1 m"]
    squares: Float[Array, "*1 m"]
    weights: Float[Array, "*d m"]
    mean: Float[Array, "*d"]
    half_variance: Float[Array, "*d"]


def adapt(
    members: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    y: Float[Array, " m"],
    measurement: Measurement,
    noise: Float[Array, "m m"],
    surprise: Scalar | float,
    doubt: Scalar | float,
    near: Float[Array, "d m"] | None = None,
) -> Float[Array, "n d"]:
    """Return the forecast with its spread adapted about its mean.

    Args:
        members: finite forecast.
        alive: members of no weight are False.
        y: the measurement; NaN components say nothing.
        measurement: prediction and noise.
        noise: R, missing components cut off.
        surprise: threshold of the Gaussian witness, see `surprise_factor`.
        doubt: s, see `probable_factor`.
        near: taper of every measurement for every coordinate, where there is a localisation.
    """

    def scaled(points: Float[Array, "n d"], factor: Float[Array, "*d"]) -> Float[Array, "n d"]:
        each = factor if near is None else factor[None]
        return jnp.where(each == 1, points, inflate(points, each))

    measured = ~jnp.isnan(y)
    predicted = measurement.predict(members)
    middle = jnp.mean(predicted, axis=0)
    deviations = jnp.where(measured[None], predicted - middle[None], 0)
    e = jnp.where(measured, jnp.where(measured, y, 0) - middle, 0)
    if near is None:
        signal = dot(deviations.T, deviations) / (members.shape[0] - 1)
        seen = innovation(e, signal, noise, measured)
        told = _linear_in(deviations, members, signal)
    else:
        variance = jnp.sum(deviations**2, axis=0) / (members.shape[0] - 1)
        seen = componentwise(e, variance, jnp.diagonal(noise), jnp.where(measured[None], near, 0))
    factor = surprise_factor(seen, surprise)

    def widened(factor: Float[Array, "*d"]) -> Float[Array, "n d"]:
        return members + (factor - 1) * told if near is None else scaled(members, factor)

    least = jnp.finfo(members.dtype).min / y.shape[0]  # finite: the sum of all components is, too

    def evidence(points: Array) -> Float[Array, " m"]:
        each = measurement.log_components(y, points, jnp.diagonal(noise))
        total = jax.nn.logsumexp(jnp.where(alive[:, None], each, -jnp.inf), axis=0)
        return jnp.maximum(total, least)

    before, after = (evidence(x).reshape(seen.values.shape) for x in (members, widened(factor)))
    # where no member allows the measurement at all, nothing can speak against widening;
    # a missing component has the same evidence, log n, before and after
    impossible = jnp.any((seen.weights > 0) & (before == least), axis=-1)
    likelier = jnp.sum(seen.weights * (after - before), axis=-1) > math.log(ODDS)
    factor = jnp.where(likelier | impossible, factor, 1)
    if near is None:
        credited = seen._replace(values=factor**2 * seen.values)
        return scaled(widened(factor), probable_factor(credited, doubt))
    common = probable_factor(credible(seen, measured), doubt)
    # nothing is known far from every measurement
    probable = 1 + jnp.max(seen.weights, axis=1) * (common - 1)
    return scaled(members, jnp.where(factor > 1, factor, probable))


def _linear_in(
    deviations: Float[Array, "n m"], members: Float[Array, "n d"], signal: Float[Array, "m m"]
) -> Float[Array, "n d"]:
    """Return the part of the anomalies that is linear in the predictions, P_hh = `signal`."""
    n = members.shape[0]
    anomalies = members - jnp.mean(members, axis=0, keepdims=True)
    root = floored_root(signal)
    half = solve_lower(root, deviations.T)
    return dot(half.T, dot(half, anomalies)) / (n - 1)


def innovation(
    e: Float[Array, " m"],
    signal: Float[Array, "m m"],
    noise: Float[Array, "m m"],
    measured: Bool[Array, " m"],
) -> Innovation:
    """Return the innovation e, 0 where nothing is measured, in the eigenbasis of P_hh and R."""
    root = cholesky(noise)
    e = solve_lower(root, e[:, None])
    half = solve_lower(root, signal)
    values, vectors = eigh(solve_lower(root, half.T))
    squares = jnp.matmul(vectors.T, e, precision="highest")[:, 0] ** 2
    count = jnp.sum(measured, dtype=e.dtype)
    return Innovation(jnp.maximum(values, 0), squares, jnp.ones_like(squares), count, count)


def componentwise(
    e: Float[Array, " m"],
    variance: Float[Array, " m"],
    noise: Float[Array, " m"],
    near: Float[Array, "d m"],
) -> Innovation:
    """Return the innovation of components that count as independent, weighted by `near`."""
    sums = jnp.sum(near, axis=1), jnp.sum(near**2, axis=1)
    return Innovation((variance / noise)[None], (e**2 / noise)[None], near, *sums)


def credible(seen: Innovation, measured: Bool[Array, " m"]) -> Innovation:
    """Return the components that are no surprise by themselves, for a factor common to all.

    Leaving the largest out makes the rest smaller than a sound Gaussian forecast says, by the
    E[z^2 | z^2 <= b] of a standard normal z: squares are divided by it.
    """
    bound = 1 + COMPONENT * math.sqrt(2)
    weights = measured[None] & (seen.squares <= bound * (1 + seen.values))
    cut = math.sqrt(bound)
    density = math.exp(-0.5 * bound) / math.sqrt(2 * math.pi)
    kept = 1 - 2 * cut * density / math.erf(cut / math.sqrt(2))
    return seen._replace(squares=seen.squares / kept, weights=weights.astype(seen.values.dtype))


def probable_factor(seen: Innovation, doubt: Scalar | float) -> Scalar:
    r"""Return the most probable factor of the anomalies, log f^2 ~ N(0, doubt^2) before.

    With u = log f^2 and lambda_k, z_k^2, w_k the `Innovation`, the root of

        u / doubt^2 = 1/2 sum_k w_k a_k (z_k^2 / (1 + e^u lambda_k) - 1),
        a_k = e^u lambda_k / (1 + e^u lambda_k).
    """
    largest = 2 * math.log(LARGEST)

    def more(u: Array) -> Array:
        scaled = jnp.exp(u) * seen.values
        pull = scaled / (1 + scaled) * (seen.squares / (1 + scaled) - 1)
        return 0.5 * jnp.sum(seen.weights * pull) * like(u, doubt) ** 2 > u

    return jnp.exp(0.5 * _bisect(more, jnp.full((), -largest, seen.values.dtype), largest))


def surprise_factor(seen: Innovation, threshold: Scalar | float) -> Float[Array, "*d"]:
    r"""Return the factor of the anomalies that makes a surprising measurement credible.

    For a sound Gaussian forecast D is a weighted sum of squares of mean m = sum_k w_k and variance
    2 sum_k w_k^2. Where D > m + threshold sqrt(2 sum_k w_k^2), the smallest factor f is taken for
    which D(f), computed with f^2 P_hh, is not, at most 10; elsewhere 1.
    """
    bound = seen.mean + like(seen.mean, threshold) * jnp.sqrt(2 * seen.half_variance)

    def surprising(log_factor: Array) -> Array:
        square = jnp.exp(2 * log_factor)[..., None]
        parts = seen.weights * seen.squares / (1 + square * seen.values)
        return jnp.sum(parts, axis=-1) > bound

    none = jnp.zeros_like(bound)
    found = _bisect(surprising, none, math.log(LARGEST))
    return jnp.exp(jnp.where(surprising(none), found, 0))


def _bisect(more, low: Float[Array, "*d"], high: float) -> Float[Array, "*d"]:
    """Return where `more` turns false, to a thousandth of 1."""
    steps = math.ceil(math.log2(2 * math.log(LARGEST) * 2 / 1e-3))

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        up = more(middle)
        return jnp.where(up, middle, low), jnp.where(up, high, middle)

    return lax.fori_loop(0, steps, halve, (low, jnp.full_like(low, high)))[1]
