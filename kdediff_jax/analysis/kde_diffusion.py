"""The method: analysis by closed-form conditional diffusion."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import kde
from .._checks import choice, ensemble, positive, same_members, vector
from .._typing import Array, Bool, Float, Key, Scalar, like, tunable
from ..bandwidths import AbstractBandwidth, resolve
from ..observations import AbstractObservation, sample_ensemble
from ..samplers import AbstractSampler, ProbabilityFlow
from .base import AbstractAnalysis, AnalysisInfo, Outcome, guard, with_stand_ins

KERNELS = ("product",)


class KDEDiffusion(AbstractAnalysis):
    r"""Draw the analysis from the kernel density of (state, measurement), conditioned on y.

    Source: Binder, Dasgupta and Oberai 2026, arXiv 2603.21291. Members x_i and their simulated
    measurements y_i give p(x | y) = sum_i w_i N(x; x_i, h_x^2), w_i ∝ exp(-|y - y_i|^2 / 2 h_y^2);
    the sampler integrates the reverse diffusion of its closed-form score. Only `sample` of the
    observation is used. For N → infinity and a linear-Gaussian problem this is the Kalman
    analysis computed with R + h_y^2 I, with h_x^2 I added to its covariance.

    Args:
        state_bandwidth: h_x, a number, one per coordinate, or a rule, in the state's units.
        obs_bandwidth: h_y, likewise, in the measurement's units.
        sampler: `ProbabilityFlow`, `ReverseSDE` or `ExactMixture`.
        kernel: "product", the paper's.

    Raises:
        ValueError: a bandwidth that is not positive, an unknown kernel.
    """

    state_bandwidth: Any = tunable(kw_only=True)
    obs_bandwidth: Any = tunable(kw_only=True)
    sampler: AbstractSampler = eqx.field(default_factory=ProbabilityFlow, kw_only=True)
    kernel: str = eqx.field(static=True, default="product", kw_only=True)

    def __check_init__(self) -> None:
        """Check the options and the values that are known."""
        choice("kernel", self.kernel, KERNELS)
        for name in ("state_bandwidth", "obs_bandwidth"):
            value = getattr(self, name)
            if not isinstance(value, AbstractBandwidth):
                positive(name, value)
        if not isinstance(self.sampler, AbstractSampler):
            raise TypeError(f"sampler: expected a sampler, got {self.sampler!r}")
        schedule = getattr(self.sampler, "schedule", None)
        if schedule is not None and not isinstance(self.state_bandwidth, AbstractBandwidth):
            schedule.check_above(self.state_bandwidth)

    def analyse(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar,
    ) -> Outcome:
        """Predict one measurement per member and condition on y."""
        predict_key, draw_key = jax.random.split(key)
        predicted = sample_ensemble(observation, predict_key, forecast, t)
        return self._condition(draw_key, forecast, alive, predicted, y)

    def update(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        predicted: Float[Array, "n m"],
        y: Float[Array, " m"],
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        """Condition on y given the pairs alone: the black-box core, with no simulator.

        Args:
            key: random key.
            forecast: members x_i.
            predicted: one simulated measurement y_i per member, noise included.
            y: the measurement; NaN components say nothing.

        Returns:
            analysis ensemble [n d] and `AnalysisInfo`.

        Raises:
            ValueError: shapes that do not fit, fewer than two members.
            TypeError: a non-floating dtype.
        """
        forecast = ensemble("forecast", forecast)
        y = like(forecast, vector("y", y))
        safe, alive = with_stand_ins(forecast)
        return guard(forecast, y, self._condition(key, safe, alive, predicted, y))

    def _condition(self, key, forecast, alive, predicted, y) -> Outcome:
        predicted = like(forecast, ensemble("predicted", predicted))
        same_members("predicted", predicted, "forecast", forecast)
        vector("y", y, predicted.shape[1])
        predicted, alive = with_stand_ins(predicted, alive)
        h_x = resolve(self.state_bandwidth, forecast, "state_bandwidth")
        h_y = resolve(self.obs_bandwidth, predicted, "obs_bandwidth")
        log_weights = kde.log_weights(y, predicted, h_y)
        log_weights = jax.nn.log_softmax(jnp.where(alive, log_weights, -jnp.inf))
        analysis, stats = self.sampler(key, forecast.shape[0], forecast, log_weights, h_x)
        valid = stats.ok & jnp.all(h_x > 0) & jnp.all(h_y > 0)  # traced values reach here unchecked
        return Outcome(
            analysis,
            jnp.mean(analysis, axis=0),
            kde.effective_sample_size(log_weights),
            alive,
            stats.num_steps,
            stats.num_rejected,
            valid,
        )
