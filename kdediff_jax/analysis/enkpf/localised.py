r"""The localised ensemble Kalman particle filter: every coordinate sees its own neighbourhood.

Source: Robert and Künsch 2017, Tellus A 69, 1282016, for the split of the likelihood with a
localisation. Its Kalman share g moves coordinate j by the ensemble transform of the measurements
near it, whose precision is multiplied by the taper rho_jk (LETKF). The rest weighs the moved
members for each coordinate by itself,

    log w_i^(j) = (1 - g) sum_k rho_jk log p(y_k | x_i),

and the coordinate's reverse flow, which in one dimension is a monotone map, carries its members to
the weighted kernel density. Smooth in j, deterministic, and the identity where the weights are
equal: no member is lost, none is duplicated. Then the anomalies are rotated a little
(`kdediff_jax.ensemble.rotation`): members that keep their order keep chance relations of higher
order, too. A stated R that is not diagonal is made so (`kdediff_jax.analysis.decorrelation`); of an
estimated one the diagonal is used. Of the relation to a measurement near it that part counts which
is more than chance among N members (`kdediff_jax.ensemble.chance`). With an infinite radius and a
`shrinkage` of 0 the Kalman share is the ETKF and each coordinate's weights are the global ones.
"""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ... import kde
from ..._checks import positive
from ..._typing import Array, Bool, Float, Int, Key, Number, Scalar, like, tunable
from ...ensemble.abstract_localisation import AbstractLocalisation, checked_localisation
from ...ensemble.inflation import FieldSamplingInflation, Inflation, as_inflation, restore_spread
from ...ensemble.neighbours import Neighbourhoods, Neighbours, each_coordinate, reach
from ...ensemble.rotation import rotate, unimodal
from ...ensemble.transform import local_transform
from ...numerics import dot, variances
from ...observations.gaussian_surrogate import GaussianSurrogate
from ...observations.noise import AbstractNoise, AutoNoise, as_noise
from ...samplers.marginal_flow import marginal_flow
from ..base import AbstractKalmanAnalysis
from ..decorrelation import decorrelated
from ..outcome import Outcome
from ..predict import Predicted
from .kalman_moves import Surrogate, local_surrogate
from .kernel_width import AbstractKernelWidth, as_kernel_width
from .likelihood_split import AbstractLikelihoodSplit, as_split, coordinate_features
from .lost_neighbourhoods import LostNeighbourhoods
from .spread_correction import FieldSpreadCorrection


class LEnKPF(AbstractKalmanAnalysis):
    r"""Localised ensemble Kalman particle filter: nothing to tune but the localisation's radius.

    Args:
        localisation: where coordinates and measurements are.
        kalman_share: part g of the log-likelihood that moves members by a Kalman gain: a number in
            [0, 1], a rule (`AbstractLikelihoodSplit`), or None for `LikelihoodSplit()`.
        kernel_width: h of each coordinate's kernel density, a number in (0, 1] in units of its
            spread, a rule, or None for `SilvermanWidth()`.
        spread_correction: what the innovations of a whole field say of its spread.
        lost_neighbourhoods: what is done where the innovations say that the filter is lost.
        gaussian_surrogate: what a gain sees of noise of known density that is not Gaussian.
        shrinkage: how many times what chance explains of a squared correlation is taken away
            (`kdediff_jax.ensemble.chance`); 0 for the taper alone.
        rotation_angle: angle in radians of the random rotations of the analysis anomalies, 0 for
            none. Coordinates with two separate modes or far from every measurement are not rotated.
        mode_separation: how far apart two modes are, in the index of `ModeMasses`, from which and
            up to which the rotation of a coordinate fades out.
        inflation: factor of the analysis anomalies, or a rule, which follows each coordinate's own
            degrees of freedom and weights.
        noise: where h and R come from, see `EnKF`.

    Raises:
        ValueError: a number out of range, an unknown option, positions that do not fit (when
            called).
        TypeError: a localisation of another kind.
    """

    localisation: AbstractLocalisation = eqx.field(converter=checked_localisation)
    kalman_share: AbstractLikelihoodSplit = eqx.field(
        converter=as_split, kw_only=True, default=None
    )
    kernel_width: AbstractKernelWidth = eqx.field(
        converter=as_kernel_width, kw_only=True, default=None
    )
    spread_correction: FieldSpreadCorrection = eqx.field(
        kw_only=True, default_factory=FieldSpreadCorrection
    )
    lost_neighbourhoods: LostNeighbourhoods = eqx.field(
        kw_only=True, default_factory=LostNeighbourhoods
    )
    gaussian_surrogate: GaussianSurrogate = eqx.field(
        kw_only=True, default_factory=GaussianSurrogate
    )
    shrinkage: Number = tunable(1.0, kw_only=True)
    rotation_angle: Number = tunable(0.9, kw_only=True)
    mode_separation: Number = tunable((3.0, 5.0), kw_only=True)
    inflation: Inflation = eqx.field(
        converter=as_inflation, kw_only=True, default_factory=FieldSamplingInflation
    )
    noise: AbstractNoise = eqx.field(converter=as_noise, kw_only=True, default_factory=AutoNoise)
    independent: ClassVar[bool] = True
    localised: ClassVar[bool] = True

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("shrinkage", self.shrinkage, zero=True)
        positive("rotation_angle", self.rotation_angle, zero=True)
        positive("mode_separation", self.mode_separation)

    def condition(self, key: Key, forecast: Predicted) -> Outcome:
        """Correct spread, move by every share, weigh, choose one, draw, rotate, inflate."""
        forecast = decorrelated(forecast)
        near = self.localisation.around(forecast.anomalies, forecast.deviations, forecast.t)
        reached = reach(near, forecast.measured)  # 0 where no measurement reaches
        before = forecast.members
        forecast, lost = self.lost_neighbourhoods.widen(forecast, near)
        forecast = self.spread_correction(forecast, reached)
        measurement = local_surrogate(forecast, self.gaussian_surrogate)
        trusted = self.localisation.without_chance(
            near,
            forecast.anomalies,
            forecast.deviations,
            forecast.prediction_variance / forecast.noise_variance,
            like(before, self.shrinkage),
        )
        shares = like(before, self.kalman_share.shares)
        moved, freedom = local_moves(forecast, measurement, trusted, shares)
        moved = self.lost_neighbourhoods.bounded(moved, forecast.members)
        densities = relative_densities(forecast, moved)
        taken = self._choose(forecast, moved, densities, shares, near)
        share = jnp.take(shares, taken)
        drawn, ess = self._draw(forecast, moved[taken], densities[:, taken], share, near)
        turned = reached * unimodal(drawn, self.mode_separation)  # a rotation would merge modes
        drawn = rotate(key, drawn, like(drawn, self.rotation_angle) * turned)
        excess = _excess(ess, forecast)
        wider = restore_spread(self.inflation, forecast.members, drawn, freedom, excess)
        wider = self.lost_neighbourhoods.spread_kept(wider, before, lost)
        return Outcome(
            jnp.where(reached[None] > 0, wider, drawn),
            jnp.mean(drawn, axis=0),
            jnp.mean(ess),
            forecast.alive,
            num_unreached=jnp.sum(reached == 0, dtype=jnp.int32),
        )

    def _choose(
        self,
        forecast: Predicted,
        moved: Float[Array, "g n d"],
        densities: Float[Array, "m g n"],
        shares: Float[Array, " g"],
        near: Neighbourhoods,
    ) -> Int[Array, ""]:
        """Compare the posteriors of all shares, and return the index of one for all coordinates."""

        def weigh(near: Neighbours, densities: Array) -> Float[Array, "g n"]:
            return local_log_densities(near, densities, 1 - shares)

        def compare(found: Array, members: Float[Array, "g n"]) -> tuple[Array, Array]:
            log_weights = _normalised(found, forecast.alive)
            features = coordinate_features(members[:, :, None], log_weights[:, None])
            return kde.effective_sample_size(log_weights), features

        ess, features = each_coordinate(
            weigh, compare, near, jnp.moveaxis(moved, 2, 0), measured=densities
        )
        # the budget is for one coordinate, as its flow is its own: the mean over all of them
        spent = jnp.mean(_excess(ess, forecast), axis=0)
        # differences are judged by the noise of a neighbourhood: its size takes the place of d
        size = self.localisation.size_around(forecast.anomalies)
        estimates = jnp.moveaxis(features, 0, 1).reshape(shares.shape[0], -1)
        return self.kalman_share.choose(estimates, size * spent, spent)

    def _draw(
        self,
        forecast: Predicted,
        members: Float[Array, "n d"],
        densities: Float[Array, "m n"],
        share: Scalar,
        near: Neighbourhoods,
    ) -> tuple[Float[Array, "n d"], Float[Array, " d"]]:
        """Return the members, each coordinate moved to its weighted mixture, and its ESS."""
        n = members.shape[0]

        def weigh(near: Neighbours, densities: Array) -> Float[Array, "1 n"]:
            return local_log_densities(near, densities[:, None], 1 - share[None])

        def flow(found: Array, column: Float[Array, " n"]) -> tuple[Array, Scalar]:
            (log_weights,) = _normalised(found, forecast.alive)
            ess = kde.effective_sample_size(log_weights)
            # in one dimension: each coordinate has a density of its own
            width = self.kernel_width(n, 1, 1 - ess / forecast.count)
            return marginal_flow(column, log_weights, width), ess

        drawn, ess = each_coordinate(weigh, flow, near, members.T, measured=densities)
        return drawn.T, ess


def local_moves(
    forecast: Predicted,
    measurement: Surrogate,
    near: Neighbourhoods,
    shares: Float[Array, " g"],
) -> tuple[Float[Array, "g n d"], Float[Array, " d"]]:
    """Return the members after every Kalman share, and each coordinate's degrees of freedom.

    Args:
        forecast: members and predictions.
        measurement: y and R as the gain sees them.
        near: the measurements near every point of analysis, and their weights.
        shares: g.
    """
    members, noise = forecast.members, variances(measurement.noise)
    innovation = forecast._replace(y=measurement.y).mean_innovation
    moved, freedom = local_transform(
        forecast.anomalies, forecast.deviations, innovation, near, noise, shares
    )
    return jnp.mean(members, axis=0)[None, None] + moved, freedom


def relative_densities(forecast: Predicted, moved: Float[Array, "g n d"]) -> Float[Array, "m g n"]:
    """Return log p(y_k | x_i) of the members after every share, relative to the likeliest member.

    A far measurement must not cost the differences their digits.
    """

    def of(members: Float[Array, "n d"]) -> Float[Array, "n m"]:
        # the old predictions stay behind unused: log_components predicts anew
        densities = forecast._replace(members=members).log_components()
        return densities - jnp.max(densities, axis=0, keepdims=True)

    return jnp.transpose(jax.vmap(of)(moved), (2, 0, 1))


def local_log_densities(
    near: Neighbours, densities: Float[Array, "m g n"], rest: Float[Array, " g"]
) -> Float[Array, "g n"]:
    """Return the members' log-weights at one point, up to a constant.

    They are linear in the taper: interpolated between points, they are those of an interpolated
    taper.

    Args:
        near: the measurements near it, and their weights.
        densities: log p(y_k | x_i) of every measurement, for every share.
        rest: the part of the log-likelihood that each share leaves, 1 - g.
    """
    listed = near.of(densities)
    total = dot(near.weights[None], listed.reshape(listed.shape[0], -1)).reshape(listed.shape[1:])
    return rest[:, None] * total


def _normalised(log_densities: Float[Array, "g n"], alive: Bool[Array, " n"]) -> Array:
    """Return normalised log-weights, members that take no part switched off."""
    return jax.nn.log_softmax(jnp.where(alive[None], log_densities, -jnp.inf), axis=1)


def _excess(ess: Float[Array, "*d"], forecast: Predicted) -> Float[Array, "*d"]:
    """Return what the weights' sampling noise adds to a variance of one, 1 / ESS - 1 / N."""
    return 1 / ess - 1 / forecast.count
