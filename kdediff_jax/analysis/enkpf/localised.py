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
estimated one the diagonal is used. With an infinite radius the Kalman share is the ETKF and each
coordinate's weights are the global ones.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ... import kde
from ..._checks import positive
from ..._typing import Array, Float, Key, Number, Scalar, like, tunable
from ...ensemble.inflation import AbstractInflation, FieldSamplingInflation, as_inflation, inflate
from ...ensemble.localisation import Localisation, checked_localisation
from ...ensemble.neighbours import Neighbours, each_coordinate, reach, weighted_sums
from ...ensemble.rotation import rotate, unimodal
from ...ensemble.transform import local_transform
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
        gaussian_surrogate: what a gain sees of noise of known density that is not Gaussian.
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

    localisation: Localisation = eqx.field(converter=checked_localisation)
    kalman_share: AbstractLikelihoodSplit = eqx.field(
        converter=as_split, kw_only=True, default=None
    )
    kernel_width: AbstractKernelWidth = eqx.field(
        converter=as_kernel_width, kw_only=True, default=None
    )
    spread_correction: FieldSpreadCorrection = eqx.field(
        kw_only=True, default_factory=FieldSpreadCorrection
    )
    gaussian_surrogate: GaussianSurrogate = eqx.field(
        kw_only=True, default_factory=GaussianSurrogate
    )
    rotation_angle: Number = tunable(0.9, kw_only=True)
    mode_separation: Number = tunable((3.0, 5.0), kw_only=True)
    inflation: AbstractInflation = eqx.field(
        converter=as_inflation, kw_only=True, default_factory=FieldSamplingInflation
    )
    noise: AbstractNoise = eqx.field(converter=as_noise, kw_only=True, default_factory=AutoNoise)
    independent: ClassVar[bool] = True

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("rotation_angle", self.rotation_angle, zero=True)
        positive("mode_separation", self.mode_separation)

    def condition(self, key: Key, forecast: Predicted) -> Outcome:
        """Correct spread, move by every share, weigh, choose one, draw, rotate, inflate."""
        n, d = forecast.members.shape
        forecast = decorrelated(forecast)
        near = self.localisation.near(d, forecast.y.shape[0], forecast.members.dtype)
        reached = reach(near, forecast.measured)  # 0 where no measurement reaches
        forecast = self.spread_correction(forecast, near, reached)
        measurement = local_surrogate(forecast, self.gaussian_surrogate)
        shares = like(forecast.members, self.kalman_share.shares)
        moved, freedom = local_moves(forecast, measurement, near, shares)
        chosen = self._split(forecast, moved, shares, near)
        ess = kde.effective_sample_size(chosen.log_weights)  # [d]
        # in one dimension: each coordinate has a density of its own. A fixed width is one number
        widths = jnp.broadcast_to(self.kernel_width(n, 1, 1 - ess / forecast.count), ess.shape)
        drawn = each_coordinate(marginal_flow, chosen.members.T, chosen.log_weights, widths).T
        turned = reached * unimodal(drawn, self.mode_separation)  # a rotation would merge modes
        drawn = rotate(key, drawn, like(drawn, self.rotation_angle) * turned)
        factor = jnp.where(reached > 0, self.inflation(freedom, n, _excess(ess, forecast)), 1)
        return Outcome(
            inflate(drawn, factor[None]),
            jnp.mean(drawn, axis=0),
            jnp.mean(ess),
            forecast.alive,
            num_unreached=jnp.sum(reached == 0),
        )

    def _split(
        self,
        forecast: Predicted,
        moved: Float[Array, "g n d"],
        shares: Float[Array, " g"],
        near: tuple[Neighbours, ...],
    ) -> LocalSplit:
        """Compare the posteriors of all shares, and take one for all coordinates."""
        weigh = jax.vmap(lambda x, g: local_weights(forecast, x, near, 1 - g))
        log_weights = weigh(moved, shares)
        ess = kde.effective_sample_size(log_weights)  # [g d]
        # the budget is for one coordinate, as its flow is its own: the mean over all of them
        spent = jnp.mean(_excess(ess, forecast), axis=1)
        # differences are judged by the noise of a neighbourhood: its size takes the place of d
        size = self.localisation.neighbourhood_size(moved.shape[2], moved.dtype)
        sampling_noise = size * spent
        features = coordinate_features(moved, log_weights)
        taken = self.kalman_share.choose(features, sampling_noise, spent)
        return LocalSplit(moved[taken], log_weights[taken])


class LocalSplit(NamedTuple):
    """Members moved by the share taken, and the weights of each coordinate."""

    members: Float[Array, "n d"]
    log_weights: Float[Array, "d n"]


def local_moves(
    forecast: Predicted,
    measurement: Surrogate,
    near: tuple[Neighbours, ...],
    shares: Float[Array, " g"],
) -> tuple[Float[Array, "g n d"], Float[Array, " d"]]:
    """Return the members after every Kalman share, and each coordinate's degrees of freedom.

    Args:
        forecast: members and predictions.
        measurement: y and R as the gain sees them.
        near: the measurements near every coordinate, and their weights.
        shares: g.
    """
    members, variances = forecast.members, measurement.noise
    innovation = forecast._replace(y=measurement.y).mean_innovation
    moved, freedom = local_transform(
        forecast.anomalies, forecast.deviations, innovation, near, variances, shares
    )
    return jnp.mean(members, axis=0)[None, None] + moved, freedom


def local_weights(
    forecast: Predicted,
    members: Float[Array, "n d"],
    near: tuple[Neighbours, ...],
    rest: Scalar | float,
) -> Float[Array, "d n"]:
    """Return the normalised log-weights of moved members for every coordinate.

    Args:
        forecast: what they come from.
        members: after the Kalman share.
        near: the measurements near every coordinate, and their weights.
        rest: the share of the log-likelihood that is left, 1 - g.
    """
    # the old predictions stay behind unused: log_components predicts anew
    densities = forecast._replace(members=members).log_components()
    # relative to the likeliest member: a far measurement must not cost the differences their digits
    densities = densities - jnp.max(densities, axis=0, keepdims=True)
    total = rest * weighted_sums(near, densities.T)
    return jax.nn.log_softmax(jnp.where(forecast.alive[None], total, -jnp.inf), axis=1)


def _excess(ess: Float[Array, "*d"], forecast: Predicted) -> Float[Array, "*d"]:
    """Return what the weights' sampling noise adds to a variance of one, 1 / ESS - 1 / N."""
    return 1 / ess - 1 / forecast.count
