r"""The correct-spread stage: what innovation statistics say of a forecast's spread.

With e = y - mean h, and a factor f of the forecast's anomalies, a Gaussian forecast says
e ~ N(0, f^2 P_hh + R). Two things follow from one innovation.

Every cycle, the most probable f is taken, with log f^2 ~ N(0, s^2) before: a forecast a little too
sure or unsure of itself is corrected a little, the more, the more components are measured (in the
manner of Anderson 2009, without its memory). In a localised filter the components of the whole
field count as independent, and f is common to all coordinates, from the components that are no
surprise: a few that saturate must not widen a whole field.

A lost filter is far outside: where D = e^T (P_hh + R)^{-1} e is more than chi-square allows, the
smallest f that makes it credible is taken, for the part of the anomalies that is linear in the
predictions, P_xh P_hh^{-1} (h_i - mean h): of coordinates that the predictions do not depend on,
the measurement does not say that they are wrong, and nothing would call them back. Chi-square calls
outliers of a heavy-tailed noise and minor modes of the forecast impossible too, so a second witness
must agree, one that knows the noise's density and the forecast's shape, one component of the
measurement at a time: widening must make the measurement so much likelier that it outweighs the
odds against a lost filter,

    sum_k log [ mean_i p(y_k | wide x_i) / mean_i p(y_k | x_i) ] > log(odds).

An h that is a regression on the members cannot witness: it is not known where they would be moved.
Componentwise (a composite likelihood, Varin, Reid and Firth 2011) as few members can estimate a
density in one dimension, not in twenty.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._checks import positive
from ..._typing import Array, Float, Number, Scalar, like, tunable
from ...ensemble.gaussian_update import fewer_members
from ...ensemble.inflation import inflate
from ...numerics import apply_gram, dot, root_of_rows, solve_lower, standard_deviation
from ..predict import Predicted
from .innovation import (
    componentwise_innovation,
    joint_innovation,
    probable_factor,
    surprise_factor,
    without_surprises,
)


class SpreadCorrection(eqx.Module):
    """Corrects the spread of a whole forecast.

    Args:
        log_spread_std: s, standard deviation of log f^2 before the innovation is seen; 0 for a
            spread that is never doubted.
        outlier_threshold: the forecast is widened where D is more than this many standard
            deviations above what chi-square allows and the second witness agrees; infinity for
            never.
        odds: against a lost filter. With 1 sound runs are widened, 20 and 100 give the same scores.
        largest_factor: of the anomalies.

    Raises:
        ValueError: a number out of range.
    """

    log_spread_std: Number = tunable(0.3)
    outlier_threshold: Number = tunable(4.0)
    odds: Number = tunable(20.0)
    largest_factor: Number = tunable(10.0)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("log_spread_std", self.log_spread_std, zero=True)
        positive("outlier_threshold", self.outlier_threshold, infinite=True)
        positive("odds", self.odds)
        positive("largest_factor", self.largest_factor)

    def __call__(self, forecast: Predicted) -> Predicted:
        """Return the forecast with its spread corrected about its mean."""
        deviations = forecast.deviations
        both = forecast.whitened(jnp.concatenate([deviations, forecast.mean_innovation[None]]))
        seen = joint_innovation(both[-1], both[:-1])
        count = jnp.sum(forecast.measured, dtype=both.dtype)
        factor = surprise_factor(seen, count, self.outlier_threshold, self.largest_factor)
        predictable = _linear_in(deviations, forecast.anomalies)
        widened = forecast.members + (factor - 1) * predictable
        lost = _likelier(forecast, widened, self.odds) & (not forecast.error_model.regressed)
        members = jnp.where(lost, widened, forecast.members)
        seen = seen._replace(values=jnp.where(lost, factor, 1) ** 2 * seen.values)
        probable = probable_factor(seen, self.log_spread_std, self.largest_factor)
        return forecast.at(inflate(members, probable))


class FieldSpreadCorrection(eqx.Module):
    """Scales the spread of a whole field by the most probable factor.

    Args:
        log_spread_std: s, standard deviation of log f^2 before the innovation is seen; 0 for a
            spread that is never doubted.
        component_threshold: standard deviations above what chi-square allows one component, beyond
            which it does not speak of the common factor.
        largest_factor: of the anomalies, and of its inverse.

    Raises:
        ValueError: a number out of range.
    """

    log_spread_std: Number = tunable(0.5)
    component_threshold: Number = tunable(4.0)
    largest_factor: Number = tunable(10.0)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("log_spread_std", self.log_spread_std, zero=True)
        positive("component_threshold", self.component_threshold)
        positive("largest_factor", self.largest_factor)

    def __call__(self, forecast: Predicted, reach: Float[Array, " d"]) -> Predicted:
        """Return the forecast with its spread corrected about its mean.

        Args:
            forecast: to correct.
            reach: largest weight that a measurement has for each coordinate, 0 to 1: nothing is
                known far from every measurement.
        """
        seen = componentwise_innovation(
            forecast.mean_innovation, forecast.prediction_variance, forecast.noise_variance
        )
        sound = without_surprises(seen, forecast.measured, self.component_threshold)
        common = probable_factor(sound, self.log_spread_std, self.largest_factor)
        return forecast.at(inflate(forecast.members, 1 + reach[None] * (common - 1)))


def _likelier(forecast: Predicted, widened: Float[Array, "n d"], odds: Scalar) -> Array:
    """Return whether widened members make the measurement likelier by more than the odds.

    Where no member allows the measurement at all, nothing can speak against widening.
    """
    before = log_evidence(forecast)
    gain = jnp.sum(log_evidence(forecast._replace(members=widened)) - before)
    return jnp.any(before == least_evidence(forecast)) | (gain > jnp.log(like(gain, odds)))


def log_evidence(forecast: Predicted) -> Float[Array, " m"]:
    """Return log sum_i p(y_k | x_i), by predictions made anew; a missing component has log n."""
    each = forecast.log_components()
    densities = jnp.where(forecast.alive[:, None] & ~jnp.isnan(each), each, -jnp.inf)
    return jnp.maximum(jax.nn.logsumexp(densities, axis=0), least_evidence(forecast))


def least_evidence(forecast: Predicted) -> Scalar:
    """Return what stands for a measurement that no member allows: finite, as the sum is."""
    return jnp.asarray(jnp.finfo(forecast.y.dtype).min / forecast.y.shape[0], forecast.y.dtype)


def _linear_in(
    deviations: Float[Array, "n m"], anomalies: Float[Array, "n d"]
) -> Float[Array, "n d"]:
    """Return the part of the anomalies that is linear in the predictions."""
    if fewer_members(deviations):
        return _spanned(deviations, anomalies)
    scaled = deviations / (deviations.shape[0] - 1) ** 0.5
    half = solve_lower(root_of_rows(scaled), scaled.T)
    return dot(half.T, dot(half, anomalies))


def _spanned(
    deviations: Float[Array, "n m"], anomalies: Float[Array, "n d"]
) -> Float[Array, "n d"]:
    """Return the same as the projection on what the predictions span, for N < m members."""
    n, m = deviations.shape
    scaled = deviations / standard_deviation(deviations)[None]
    rounding = jnp.asarray(n * m * (64 * jnp.finfo(scaled.dtype).eps) ** 2, scaled.dtype)
    (found,) = apply_gram(lambda l, none: (l / (l + none),), scaled, (anomalies,), rounding)
    return found
