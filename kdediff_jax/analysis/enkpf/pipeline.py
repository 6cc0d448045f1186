r"""The ensemble Kalman particle filter, which has nothing to tune.

Source: Frei and Künsch 2013, Biometrika 100, 781, for the split of the likelihood between an EnKF
and a particle filter, which is here the kernel density with the ensemble's shape. Each stage of
the analysis is a module beside this one, which tells its mathematics.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from ... import kde
from ..._typing import Array, Float, Key, like
from ...ensemble.gains import degrees_of_freedom
from ...ensemble.inflation import (
    Inflation,
    RelaxationToPriorPerturbations,
    SamplingInflation,
    as_inflation,
    restore_spread,
)
from ...numerics import AbstractCovariance, Covariance
from ...observations.gaussian_surrogate import GaussianSurrogate
from ...observations.noise import AbstractNoise, AutoNoise, as_noise
from ...samplers import AbstractSampler, ExactMixture
from ..base import AbstractKalmanAnalysis
from ..outcome import Outcome
from ..predict import Predicted
from .kalman_moves import LocalGain, Surrogate, kalman_moves, surrogate
from .kernel_shape import AbstractKernelShape, WeightedShape
from .kernel_width import AbstractKernelWidth, as_kernel_width
from .likelihood_split import AbstractLikelihoodSplit, as_split, joint_features
from .mixture import Mixture, draw, particle_weights
from .mode_masses import ModeMasses
from .spread_correction import SpreadCorrection


def _default_sampler() -> AbstractSampler:
    """Return systematic mixture draws: with nearly equal weights they keep every member.

    Their kernel noise is moved to mean 0 and covariance I, so that it adds no sampling error.
    """
    return ExactMixture(latents="independent-matched")


class EnKPF(AbstractKalmanAnalysis):
    r"""Ensemble Kalman particle filter that chooses its own settings: the filter to start with.

    Where the forecast is Gaussian it is an ensemble Kalman filter; where it is not, and members
    suffice, a particle filter. With `kalman_share=0` members take no Kalman step, and the posterior
    is the kernel density with the ensemble's covariance alone.

    Args:
        kalman_share: part g of the log-likelihood that moves members by a Kalman gain: a number in
            [0, 1], a rule (`AbstractLikelihoodSplit`), or None for `LikelihoodSplit()`.
        kernel_width: h, a number in (0, 1] in units of the ensemble's spread, a rule
            (`AbstractKernelWidth`), or None for `SilvermanWidth()`.
        kernel_shape: rule for the kernel's covariance: the weighted members' or the forecast's.
        gain: rule for the covariances behind each member's Kalman gain.
        spread_correction: rule that scales the forecast's anomalies by what y - mean h(x) says.
        mode_masses: rule for how far weights may change the masses of two separate modes.
        gaussian_surrogate: bounds of the Gaussian noise that a gain sees where the density of the
            measurement is known and not Gaussian.
        inflation: factor of the analysis anomalies, or a rule.
        noise: where h and R come from, see `EnKF`.
        sampler: draws the analysis from the mixture. Systematic mixture draws by default: the
            flow's draws lose some members each cycle.

    Raises:
        ValueError: a number out of range, an unknown option.
        TypeError: (when called) noise="known" with an observation that does not state h and R.
    """

    kalman_share: AbstractLikelihoodSplit = eqx.field(
        converter=as_split, kw_only=True, default=None
    )
    kernel_width: AbstractKernelWidth = eqx.field(
        converter=as_kernel_width, kw_only=True, default=None
    )
    kernel_shape: AbstractKernelShape = eqx.field(kw_only=True, default_factory=WeightedShape)
    gain: LocalGain = eqx.field(kw_only=True, default_factory=LocalGain)
    spread_correction: SpreadCorrection = eqx.field(kw_only=True, default_factory=SpreadCorrection)
    mode_masses: ModeMasses = eqx.field(kw_only=True, default_factory=ModeMasses)
    gaussian_surrogate: GaussianSurrogate = eqx.field(
        kw_only=True, default_factory=GaussianSurrogate
    )
    inflation: Inflation = eqx.field(
        converter=as_inflation, kw_only=True, default_factory=SamplingInflation
    )
    noise: AbstractNoise = eqx.field(converter=as_noise, kw_only=True, default_factory=AutoNoise)
    sampler: AbstractSampler = eqx.field(kw_only=True, default_factory=_default_sampler)

    def __check_init__(self) -> None:
        """Check the rule of inflation."""
        if isinstance(self.inflation, RelaxationToPriorPerturbations):
            raise TypeError(
                "inflation: expected a rule that does not mix forecast and analysis member by "
                "member, as members are drawn anew (try: RelaxationToPriorSpread), got "
                "RelaxationToPriorPerturbations"
            )

    def condition(self, key: Key, forecast: Predicted) -> Outcome:
        """Correct spread, move by every share, weigh, choose one, hold the modes, draw, inflate."""
        _check_factor(forecast.noise)
        move_key, draw_key = jax.random.split(key)
        forecast = self.spread_correction(forecast)
        measurement = surrogate(forecast, self.gaussian_surrogate)
        shares = like(forecast.members, self.kalman_share.shares)
        # every share is carried to its posterior, as the choice compares posteriors
        moved = kalman_moves(move_key, forecast, measurement, shares, self.gain)
        posteriors = self._weigh(forecast, moved, shares)
        mixture = self._choose(posteriors, forecast)
        log_weights = self.mode_masses(
            mixture.means, mixture.log_weights, forecast, measurement.y, measurement.noise
        )
        drawn, stats = draw(draw_key, mixture._replace(log_weights=log_weights), self.sampler)
        return Outcome(
            ensemble=self._restored(forecast, measurement, drawn),
            mean=jnp.mean(drawn, axis=0),
            ess=kde.effective_sample_size(log_weights),
            alive=forecast.alive,
            num_steps=stats.num_steps,
            num_rejected=stats.num_rejected,
            ok=stats.ok,
        )

    def _weigh(
        self, forecast: Predicted, moved: Float[Array, "g n d"], shares: Float[Array, " g"]
    ) -> Mixture:
        """Return every share's posterior mixture [g ...].

        The kernel is wider where the weights leave fewer members, 1 - ESS / N.
        """
        n, d = forecast.members.shape

        def posterior(members: Array, share: Array) -> Mixture:
            after = forecast.at(members)
            rest = 1 - share  # of the log-likelihood, for the weights
            weights = particle_weights(after, rest)
            width = self.kernel_width(n, d, 1 - kde.effective_sample_size(weights) / after.count)
            return self.kernel_shape(after, weights, width, rest)

        return jax.vmap(posterior)(moved, shares)

    def _choose(self, posteriors: Mixture, forecast: Predicted) -> Mixture:
        """Compare the posteriors of all shares, and take one."""
        n, d = forecast.members.shape
        ess = kde.effective_sample_size(posteriors.log_weights)  # [g]
        sampling_noise = d * (1 / ess - 1 / forecast.count)  # v(g) of the split rule
        # ESS >= count / (1 + noise_budget n / d): dead members do not tighten the budget
        spent = sampling_noise * forecast.count / n
        taken = self.kalman_share.choose(joint_features(posteriors), sampling_noise, spent)
        return jax.tree.map(lambda values: values[taken], posteriors)

    def _restored(
        self, forecast: Predicted, measurement: Surrogate, drawn: Float[Array, "n d"]
    ) -> Float[Array, "n d"]:
        """Return the analysis with the spread that the rule of inflation gives it."""
        freedom = degrees_of_freedom(measurement.whitened(forecast.deviations))
        return restore_spread(self.inflation, forecast.members, drawn, freedom)


def _check_factor(noise: Covariance) -> None:
    """Check that members can be compared before and after their moves."""
    if isinstance(noise, AbstractCovariance) and not noise.factored:
        raise ValueError(
            "observation: expected a `covariance` with a factor for EnKPF (a diagonal, blocks, a "
            "matrix, or a `lineax` operator that is diagonal, tridiagonal or made of matrices), "
            "got an operator of which only products are known; EnKF and ETKF take it, and EnKPF as "
            "`lineax.MatrixLinearOperator(operator.as_matrix())`"
        )
