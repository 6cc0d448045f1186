r"""Adapts the spread of a forecast to what the measurement says of it: statistics of innovations.

With e = y - mean h, and a factor f of the forecast's anomalies, a Gaussian forecast says
e ~ N(0, f^2 P_hh + R). Two things follow from one innovation.

Every cycle, the most probable f is taken, with log f^2 ~ N(0, s^2) before: a forecast a little too
sure or unsure of itself is corrected a little, the more, the more components are measured (in the
manner of Anderson 2009, without its memory).

A lost filter is far outside: where D = e^T (P_hh + R)^{-1} e is more than chi-square allows, the
smallest f that makes it credible is taken. Chi-square calls outliers of a heavy-tailed noise and
minor modes of the forecast impossible too, so a second witness must agree, one that knows the
noise's density and the forecast's shape, one component of the measurement at a time: widening must
make the measurement so much likelier that it outweighs the odds against a lost filter,

    sum_k log [ mean_i p(y_k | wide x_i) / mean_i p(y_k | x_i) ] > log(odds).

Componentwise (a composite likelihood, Varin, Reid and Firth 2011) as few members can estimate a
density in one dimension, not in twenty.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular

from .._typing import Array, Bool, Float, Scalar, like
from .gains import dot
from .inflation import inflate
from .noise import Measurement

ODDS = 20.0  # against a lost filter: with 1 sound runs are widened, 20 and 100 give the same scores
LARGEST = 10.0  # factor that a surprise may give


class Innovation(NamedTuple):
    """Where R = I and P_hh is diagonal: its diagonal and the squared innovation [m], and m."""

    values: Float[Array, " m"]
    squares: Float[Array, " m"]
    components: Scalar


def adapt(
    members: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    y: Float[Array, " m"],
    measurement: Measurement,
    noise: Float[Array, "m m"],
    surprise: Scalar,
    doubt: Scalar,
    taper: Float[Array, "m m"] | None = None,
    reach: Float[Array, " d"] | None = None,
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
        taper: multiplies the sample covariance of the predictions, where there is a localisation.
        reach: how much of the change a coordinate gets, from 0 to 1; all of it by default.
    """

    def scaled(factor: Scalar) -> Float[Array, "n d"]:
        each = factor if reach is None else 1 + reach[None] * (factor - 1)
        return jnp.where(each == 1, members, inflate(members, each))

    measured = ~jnp.isnan(y)
    predicted = measurement.predict(members)
    middle = jnp.mean(predicted, axis=0)
    deviations = jnp.where(measured[None], predicted - middle[None], 0)
    signal = dot(deviations.T, deviations) / (members.shape[0] - 1)
    signal = signal if taper is None else taper * signal
    e = jnp.where(measured, jnp.where(measured, y, 0) - middle, 0)
    seen = innovation(e, signal, noise, jnp.sum(measured))
    factor = surprise_factor(seen, surprise)
    wide = scaled(factor)

    least = jnp.finfo(members.dtype).min / y.shape[0]  # finite: the sum of all components is, too

    def evidence(points: Array) -> Float[Array, " m"]:
        each = measurement.log_components(y, points, jnp.diagonal(noise))
        total = jax.nn.logsumexp(jnp.where(alive[:, None], each, -jnp.inf), axis=0)
        return jnp.maximum(total, least)

    before, after = evidence(members), evidence(wide)
    # where no member allows the measurement at all, nothing can speak against widening
    impossible = jnp.any(measured & (before == least))
    likelier = jnp.sum(jnp.where(measured, after - before, 0)) > math.log(ODDS)
    factor = jnp.where(likelier | impossible, factor, 1)
    widened = seen._replace(values=factor**2 * seen.values)
    return scaled(factor * probable_factor(widened, doubt))


def innovation(
    e: Float[Array, " m"],
    signal: Float[Array, "m m"],
    noise: Float[Array, "m m"],
    components: Array,
) -> Innovation:
    """Return the innovation e, 0 where nothing is measured, in the eigenbasis of P_hh and R."""
    root = jnp.linalg.cholesky(noise)
    e = solve_triangular(root, e[:, None], lower=True)
    half = solve_triangular(root, signal, lower=True)
    values, vectors = jnp.linalg.eigh(solve_triangular(root, half.T, lower=True))
    squares = jnp.matmul(vectors.T, e, precision="highest")[:, 0] ** 2
    return Innovation(jnp.maximum(values, 0), squares, components.astype(e.dtype))


def probable_factor(seen: Innovation, doubt: Scalar | float) -> Scalar:
    r"""Return the most probable factor of the anomalies, log f^2 ~ N(0, doubt^2) before.

    With u = log f^2 and lambda_k, z_k^2 the `Innovation`, the root of

        u / doubt^2 = 1/2 sum_k a_k (z_k^2 / (1 + e^u lambda_k) - 1),
        a_k = e^u lambda_k / (1 + e^u lambda_k).
    """
    largest = 2 * math.log(LARGEST)

    def more(u: Array) -> Array:
        scaled = jnp.exp(u) * seen.values
        pull = jnp.sum(scaled / (1 + scaled) * (seen.squares / (1 + scaled) - 1))
        return 0.5 * pull * like(u, doubt) ** 2 > u

    return jnp.exp(0.5 * _bisect(more, -largest, largest, seen.values.dtype))


def surprise_factor(seen: Innovation, threshold: Scalar | float) -> Scalar:
    r"""Return the factor of the anomalies that makes a surprising measurement credible.

    For a sound Gaussian forecast D is chi-square with m degrees of freedom. Where
    D > m + threshold sqrt(2 m), the smallest factor f is taken for which D(f), computed with
    f^2 P_hh, is not, at most 10; elsewhere 1.
    """
    m = seen.components
    bound = m + like(m, threshold) * jnp.sqrt(2 * m)

    def surprising(log_factor: Array) -> Array:
        return jnp.sum(seen.squares / (1 + jnp.exp(2 * log_factor) * seen.values)) > bound

    found = _bisect(surprising, 0.0, math.log(LARGEST), m.dtype)
    return jnp.exp(jnp.where(surprising(jnp.zeros((), m.dtype)), found, 0))


def _bisect(more, low: float, high: float, dtype) -> Scalar:
    """Return where `more` turns false, to a thousandth of 1."""
    steps = math.ceil(math.log2((high - low) / 1e-3))

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        up = more(middle)
        return jnp.where(up, middle, low), jnp.where(up, high, middle)

    ends = jnp.full((), low, dtype), jnp.full((), high, dtype)
    return lax.fori_loop(0, steps, halve, ends)[1]
