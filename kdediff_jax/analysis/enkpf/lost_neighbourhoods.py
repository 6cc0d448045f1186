r"""Widening where a localised filter is lost: at some places of a field that is sound elsewhere.

In the sum over the measurements near coordinate j, each by its taper rho_jk, a forecast is lost
where D_j = sum_k rho_jk e_k^2 / (P_kk + R_k) is more than chi-square allows,

    D_j > sum_k rho_jk + c (2 sum_k rho_jk^2)^{1/2},

and where a second witness agrees, as for a whole forecast (`spread_correction`): members widened by
the smallest f that makes D_j credible make the measurements near j likelier by more than the odds.
Its densities are those of the noise, and h is asked anew: far beyond what saturates nothing is
gained.

That f can be in the thousands where h is flat around all members. So it is only asked, and the
members are widened by a small factor, along v_ij = sum_k rho_jk e_k (h_k(x_i) - mean h_k) / (P_kk +
R_k) alone, the direction in which the measurements near j pull: of what they say nothing of, they
do not say that it is wrong. Cycle after cycle that reaches any distance, if the analysis does not
take it away again. The spread that it leaves is that of a forecast which could explain the
measurement, and this one did not: a lost neighbourhood keeps the spread that its forecast came with
(a relaxation to it, Whitaker and Hamill 2012).

The increment of the mean of a sound forecast has a variance of P - P_a, less than the forecast's
own. One of many standard deviations is the extrapolation of a slope that holds among the members,
and is cut.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from ..._checks import positive
from ..._typing import Array, Bool, Float, Number, like, tunable
from ...ensemble.inflation import inflate, spread_ratio
from ...ensemble.neighbours import (
    Neighbourhoods,
    Neighbours,
    all_neighbourhoods,
    each_coordinate,
)
from ...numerics import bisect_root, dot, rarely, safe_sqrt
from ..predict import Predicted
from .innovation import HALVINGS, Innovation, componentwise_innovation
from .spread_correction import log_evidence

FARTHEST = 1e4  # the largest factor that is asked


class LostNeighbourhoods(eqx.Module):
    """Widens the members of coordinates whose neighbourhood is lost.

    Args:
        outlier_threshold: c, standard deviations above what chi-square allows; infinity for never.
            Every coordinate is asked, and has few measurements near it: of two, ten standard
            deviations are a chance of 2e-5, four of 1 in 150.
        odds: against a lost neighbourhood.
        largest_factor: of the anomalies, in one cycle.
        largest_increment: of a coordinate's mean, in standard deviations of the forecast.

    Raises:
        ValueError: a number out of range.
    """

    outlier_threshold: Number = tunable(10.0)
    odds: Number = tunable(20.0)
    largest_factor: Number = tunable(1.5)
    largest_increment: Number = tunable(4.0)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("outlier_threshold", self.outlier_threshold, infinite=True)
        positive("odds", self.odds)
        positive("largest_factor", self.largest_factor)
        positive("largest_increment", self.largest_increment, infinite=True)

    def widen(
        self, forecast: Predicted, near: Neighbourhoods
    ) -> tuple[Predicted, Float[Array, " d"]]:
        """Return the forecast, lost neighbourhoods widened about their means, and where they are.

        That is 1 for coordinates whose neighbourhood is lost, else 0.

        Args:
            forecast: to correct.
            near: the measurements near every point of analysis, and their weights.
        """
        if forecast.error_model.regressed:  # h is not known where the members would be moved
            return forecast, jnp.zeros_like(forecast.members[0])
        variance = forecast.prediction_variance
        seen = componentwise_innovation(forecast.mean_innovation, variance, forecast.noise_variance)
        seen = seen._replace(weights=forecast.measured.astype(variance.dtype))
        lost = all_neighbourhoods(self._surprised, near, seen)

        def widened() -> tuple[Array, Array, Array]:
            members, where = self._widened(forecast, seen, near, lost)
            return members, forecast.error_model.predict(members), where

        def as_they_are() -> tuple[Array, Array, Array]:
            return forecast.members, forecast.predictions, jnp.zeros_like(forecast.members[0])

        members, predictions, where = rarely(jnp.any(lost), widened, as_they_are)
        return forecast._replace(members=members, predictions=predictions), where

    def spread_kept(
        self,
        analysis: Float[Array, "n d"],
        forecast: Float[Array, "n d"],
        where: Float[Array, " d"],
    ) -> Float[Array, "n d"]:
        """Return the analysis, with the spread of the forecast where that was lost.

        Args:
            analysis: members.
            forecast: the same before they were widened.
            where: from `widen`.
        """
        more = jnp.maximum(spread_ratio(forecast, analysis), 1) - 1
        return inflate(analysis, (1 + where * more)[None])

    def bounded(
        self, moved: Float[Array, "g n d"], members: Float[Array, "n d"]
    ) -> Float[Array, "g n d"]:
        """Return moved members, no mean of which is further off than a sound forecast allows."""
        mean = jnp.mean(members, axis=0)
        variance = jnp.sum((members - mean[None]) ** 2, axis=0) / (members.shape[0] - 1)
        largest = (like(members, self.largest_increment) * safe_sqrt(variance))[None]
        increment = jnp.mean(moved, axis=1) - mean[None]
        excess = increment - jnp.clip(increment, -largest, largest)
        return moved - excess[:, None]

    def _surprised(self, near: Neighbours, seen: Innovation) -> Bool[Array, " d"]:
        as_it_is = jnp.zeros_like(near.weights[:, 0])
        return _surprise(as_it_is, near, seen) > self._bound(near, seen)

    def _bound(self, near: Neighbours, seen: Innovation) -> Float[Array, " d"]:
        """Return the largest D_j that is credible."""
        weights = near.weights * _around(near, seen.weights)
        count, square = jnp.sum(weights, axis=1), jnp.sum(weights**2, axis=1)
        return count + like(count, self.outlier_threshold) * jnp.sqrt(2 * square)

    def _widened(
        self,
        forecast: Predicted,
        seen: Innovation,
        near: Neighbourhoods,
        lost: Bool[Array, " p"],
    ) -> tuple[Float[Array, "n d"], Float[Array, " d"]]:
        """Return the members, widened where the witness agrees, and where that is."""
        e, variance = forecast.mean_innovation, forecast.innovation_variance
        pull = (forecast.deviations * (e / variance)[None]).T

        def direction_of(near: Neighbours, pull: Array) -> Float[Array, " n"]:
            return dot(near.weights[None], near.of(pull))[0]

        def along(direction: Array, anomaly: Float[Array, " n"]) -> Float[Array, " n"]:
            square = jnp.sum(direction**2)
            part = jnp.sum(direction * anomaly) / jnp.where(square > 0, square, 1)
            return jnp.where(square > 0, part, 0) * direction

        anomalies = each_coordinate(
            direction_of, along, near, forecast.anomalies.T, measured=pull
        ).T
        needed = all_neighbourhoods(self._credible_factor, near, seen)
        more = near.at_coordinates(jnp.where(lost, needed - 1, 0))
        asked = forecast.members + more[None] * anomalies
        before, after = log_evidence(forecast, forecast.members, asked)
        told = all_neighbourhoods(_weighted_sum, near, after - before)
        agreed = lost & (told > jnp.log(like(told, self.odds)))
        taken = jnp.minimum(needed, like(needed, self.largest_factor))
        more, where = (
            near.at_coordinates(jnp.where(agreed, value, 0)) for value in (taken - 1, 1.0)
        )
        return forecast.members + more[None] * anomalies, where.astype(more.dtype)

    def _credible_factor(self, near: Neighbours, seen: Innovation) -> Float[Array, " d"]:
        """Return the smallest factor of the anomalies for which D_j is credible."""
        bound = self._bound(near, seen)
        none = jnp.zeros_like(bound)
        most = none + jnp.log(like(bound, FARTHEST))
        factor = bisect_root(
            lambda log_factor: _surprise(log_factor, near, seen) - bound, none, most, HALVINGS
        )
        return jnp.exp(factor)


def _around(near: Neighbours, values: Float[Array, " m"]) -> Float[Array, "d k"]:
    return jnp.broadcast_to(near.of(values), near.weights.shape)


def _weighted_sum(near: Neighbours, values: Float[Array, " m"]) -> Float[Array, " d"]:
    return jnp.sum(near.weights * _around(near, values), axis=1)


def _surprise(
    log_factor: Float[Array, " d"], near: Neighbours, seen: Innovation
) -> Float[Array, " d"]:
    """Return D_j of a forecast with wider anomalies."""
    values, squares, counted = (_around(near, each) for each in seen)
    expected = 1 + jnp.exp(2 * log_factor)[:, None] * values
    return jnp.sum(near.weights * counted * squares / expected, axis=1)
