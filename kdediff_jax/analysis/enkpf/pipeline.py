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
from ..._typing import Array, Float, Key, Scalar, like
from ...ensemble.covariance import whole_ensemble
from ...ensemble.gains import degrees_of_freedom
from ...ensemble.inflation import AbstractInflation, SamplingInflation, as_inflation, inflate
from ...observations.gaussian_surrogate import GaussianSurrogate
from ...observations.noise import AbstractNoise, AutoNoise, as_noise
from ...samplers import AbstractSampler, ExactMixture
from ..base import AbstractKalmanAnalysis, Outcome
from ..predict import Predicted
from .kalman_moves import LocalGain, Surrogate, kalman_moves, surrogate
from .kernel_shape import AbstractKernelShape, WeightedShape
from .kernel_width import AbstractKernelWidth, as_kernel_width
from .likelihood_split import AbstractLikelihoodSplit, as_split, joint_features
from .mixture import Mixture, draw, particle_weights
from .mode_masses import ModeMasses
from .spread_correction import SpreadCorrection


def _default_sampler() -> AbstractSampler:
    """Return systematic mixture draws: with nearly equal weights they keep every member."""
    return ExactMixture(latents="independent-matched")


class EnKPF(AbstractKalmanAnalysis):
    r"""Ensemble Kalman particle filter that chooses its own settings: the filter to start with.

    Where the forecast is Gaussian it is an ensemble Kalman filter; where it is not, and members
    suffice, a particle filter. `kalman_share=0` is the covariance-kernel diffusion alone.

    Args:
        kalman_share: part g of the log-likelihood that moves members by a Kalman gain: a number in
            [0, 1], a rule (`AbstractLikelihoodSplit`), or None for `LikelihoodSplit()`.
        kernel_width: h, a number in (0, 1] in units of the ensemble's spread, a rule
            (`AbstractKernelWidth`), or None for `SilvermanWidth()`.
        kernel_shape: whose covariance the kernel has.
        gain: whose neighbourhoods give the Kalman gains.
        spread_correction: what innovations say of the forecast's spread.
        mode_masses: how far weights may change the masses of two separate modes.
        gaussian_surrogate: what a gain sees of noise of known density that is not Gaussian.
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
    inflation: AbstractInflation = eqx.field(
        converter=as_inflation, kw_only=True, default_factory=SamplingInflation
    )
    noise: AbstractNoise = eqx.field(converter=as_noise, kw_only=True, default_factory=AutoNoise)
    sampler: AbstractSampler = eqx.field(kw_only=True, default_factory=_default_sampler)

    def condition(self, key: Key, forecast: Predicted) -> Outcome:
        """Correct the spread, split, weigh, hold the modes, draw, inflate."""
        move_key, draw_key = jax.random.split(key)
        forecast = self.spread_correction(forecast)
        measurement = surrogate(forecast, self.gaussian_surrogate)
        shares = like(forecast.members, self.kalman_share.shares)
        moved = kalman_moves(move_key, forecast, measurement, shares, self.gain)
        mixture = self._choose(self._weigh(forecast, moved, shares), forecast)
        log_weights = self.mode_masses(
            mixture.means, mixture.log_weights, forecast, measurement.y, measurement.noise
        )
        drawn, stats = draw(draw_key, mixture._replace(log_weights=log_weights), self.sampler)
        return Outcome(
            inflate(drawn, self._factor(forecast, measurement)),
            jnp.mean(drawn, axis=0),
            kde.effective_sample_size(log_weights),
            forecast.alive,
            stats.num_steps,
            stats.num_rejected,
            stats.ok,
        )

    def _weigh(
        self, forecast: Predicted, moved: Float[Array, "g n d"], shares: Float[Array, " g"]
    ) -> Mixture:
        """Return every share's posterior [g ...]; the kernel makes up for what weights cost."""
        n, d = forecast.members.shape

        def posterior(members: Array, share: Array) -> Mixture:
            after = forecast.at(members)
            weights = particle_weights(after, 1 - share)
            width = self.kernel_width(n, d, 1 - kde.effective_sample_size(weights) / after.count)
            return self.kernel_shape(after, weights, width, 1 - share)

        return jax.vmap(posterior)(moved, shares)

    def _choose(self, posteriors: Mixture, forecast: Predicted) -> Mixture:
        """Compare the posteriors of all shares, and take one."""
        n, d = forecast.members.shape
        sizes = kde.effective_sample_size(posteriors.log_weights)
        noise = d * (1 / sizes - 1 / forecast.count)
        spent = noise * forecast.count / n
        place = self.kalman_share.choose(joint_features(posteriors), noise, spent)
        return jax.tree.map(lambda values: values[place], posteriors)

    def _factor(self, forecast: Predicted, measurement: Surrogate) -> Scalar:
        """Return the factor of the analysis anomalies."""
        signal = whole_ensemble(forecast.anomalies, forecast.deviations).signal[0]
        freedom = degrees_of_freedom(signal, measurement.noise)
        return self.inflation(freedom, forecast.members.shape[0])
