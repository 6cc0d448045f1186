"""The method: analysis by closed-form conditional diffusion."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from .. import kde
from .._checks import choice, concrete, ensemble, positive, same_members, vector
from .._typing import Array, Bool, Float, Key, Scalar, like, tunable
from ..bandwidths import AbstractBandwidth, TargetESS, resolve
from ..observations import AbstractObservation, sample_ensemble
from ..samplers import AbstractSampler, ExactMixture, ProbabilityFlow
from .base import AbstractAnalysis, AnalysisInfo, Outcome, guard, with_stand_ins
from .bridge import CovarianceKernel, bridge
from .inflation import inflate
from .noise import Measurement, from_pairs, split

KERNELS = ("product", "covariance")


class KDEDiffusion(AbstractAnalysis):
    r"""Draw the analysis from the kernel density of (state, measurement), conditioned on y.

    Source: Binder, Dasgupta and Oberai 2026, arXiv 2603.21291. Members x_i and their simulated
    measurements y_i give p(x | y) = sum_i w_i N(x; x_i, h_x^2), w_i ∝ exp(-|y - y_i|^2 / 2 h_y^2);
    the sampler integrates the reverse diffusion of its closed-form score. Only `sample` of the
    observation is used. For N → infinity and a linear-Gaussian problem this is the Kalman
    analysis computed with R + h_y^2 I, with h_x^2 I added to its covariance.

    Without any bandwidth it chooses its own settings: `kernel="covariance"`, whose kernel has the
    shape of the ensemble, which uses the noise of the measurement apart from the kernel, and which
    leaves to a Kalman gain what N members cannot resolve by weights (see `CovarianceKernel`).

    Args:
        state_bandwidth: h_x, a number, one per coordinate, or a rule, in the state's units. With
            the covariance kernel the number h in (0, 1], in units of the ensemble's spread, or
            None to choose itself.
        obs_bandwidth: h_y, likewise (or `TargetESS`), in the measurement's units; not with the
            covariance kernel.
        sampler: `ProbabilityFlow`, `ReverseSDE` or `ExactMixture`. By default the flow for the
            product kernel, and for the covariance kernel systematic mixture draws: with nearly
            equal weights they keep every member, where the flow's draws lose some each cycle.
        kernel: "product", the paper's; "covariance" or a `CovarianceKernel`. By default "product"
            where a bandwidth is given.

    Raises:
        ValueError: a bandwidth that is not positive, missing or one too many, an unknown kernel.
    """

    state_bandwidth: Any = tunable(None, kw_only=True)
    obs_bandwidth: Any = tunable(None, kw_only=True)
    sampler: AbstractSampler = eqx.field(kw_only=True)
    kernel: Any = eqx.field(kw_only=True)  # a CovarianceKernel, or None: the product kernel

    def __init__(
        self,
        *,
        state_bandwidth: Any = None,
        obs_bandwidth: Any = None,
        sampler: AbstractSampler | None = None,
        kernel: Any = None,
    ) -> None:
        """Choose the kernel."""
        self.state_bandwidth = state_bandwidth
        self.obs_bandwidth = obs_bandwidth
        if kernel is None:
            none = state_bandwidth is None and obs_bandwidth is None
            kernel = "covariance" if none else "product"
        if isinstance(kernel, str):
            choice("kernel", kernel, KERNELS)
            kernel = CovarianceKernel() if kernel == "covariance" else None
        self.kernel = kernel
        if sampler is None:
            mixture = ExactMixture(latents="independent-matched")
            sampler = ProbabilityFlow() if kernel is None else mixture
        self.sampler = sampler

    def __check_init__(self) -> None:
        """Check the options and the values that are known."""
        if not isinstance(self.sampler, AbstractSampler):
            raise TypeError(f"sampler: expected a sampler, got {self.sampler!r}")
        if self.kernel is not None:
            self._check_covariance()
            return
        for name in ("state_bandwidth", "obs_bandwidth"):
            value = getattr(self, name)
            if value is None:
                raise ValueError(f"{name}: expected one for the product kernel, got None")
            if not isinstance(value, (AbstractBandwidth, TargetESS)):
                positive(name, value)
        schedule = getattr(self.sampler, "schedule", None)
        if isinstance(self.state_bandwidth, TargetESS):
            raise TypeError("state_bandwidth: TargetESS is a rule for the measurement bandwidth")
        if schedule is not None and not isinstance(self.state_bandwidth, AbstractBandwidth):
            schedule.check_above(self.state_bandwidth)

    def _check_covariance(self) -> None:
        if not isinstance(self.kernel, CovarianceKernel):
            raise TypeError(
                f"kernel: expected one of {KERNELS} or a CovarianceKernel, got {self.kernel!r}"
            )
        if self.obs_bandwidth is not None:
            raise ValueError(
                "obs_bandwidth: expected None with the covariance kernel, which keeps the "
                f"measurement's own noise, got {self.obs_bandwidth!r}"
            )
        h = self.state_bandwidth
        if isinstance(h, AbstractBandwidth) or (h is not None and jnp.ndim(h) != 0):
            raise ValueError(f"state_bandwidth: expected a number in (0, 1], got {h!r}")
        if h is not None:
            positive("state_bandwidth", h)
            known = concrete(h)
            if known is not None and known > 1:
                raise ValueError(
                    f"state_bandwidth: expected at most 1 with the covariance kernel, got {known}"
                )

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
        if self.kernel is not None:
            measurement = split(observation, predict_key, forecast, t, self.kernel.noise)
            return self._bridge(draw_key, forecast, alive, y, measurement)
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
        if self.kernel is None:
            return guard(forecast, y, self._condition(key, safe, alive, predicted, y))
        pairs = like(forecast, ensemble("predicted", predicted))
        same_members("predicted", pairs, "forecast", forecast)
        both, alive = with_stand_ins(jnp.concatenate([safe, pairs], axis=1), alive)
        d = forecast.shape[1]
        measurement = from_pairs(both[:, :d], both[:, d:])
        return guard(forecast, y, self._bridge(key, both[:, :d], alive, y, measurement))

    def _bridge(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        measurement: Measurement,
    ) -> Outcome:
        n, d = forecast.shape
        predicted = measurement.predict(forecast)
        vector("y", y, predicted.shape[1])
        # a member whose prediction is not finite is replaced: it can be neither moved nor weighed
        both, alive = with_stand_ins(jnp.concatenate([forecast, predicted], axis=1), alive)
        forecast = both[:, :d]
        kalman_key, draw_key = jax.random.split(key)
        h = self.state_bandwidth
        mixture, _, factor = bridge(self.kernel, kalman_key, forecast, alive, y, measurement, h)
        # whitened by the components' covariance it is the isotropic mixture of bandwidth 1
        weights = jnp.exp(mixture.log_weights)
        origin = jnp.matmul(weights[None], mixture.means, precision="highest")
        whitened = solve_triangular(mixture.root, (mixture.means - origin).T, lower=True).T
        one = jnp.ones((), forecast.dtype)
        samples, stats = self.sampler(draw_key, n, whitened, mixture.log_weights, one)
        drawn = origin + jnp.matmul(samples, mixture.root.T, precision="highest")
        return Outcome(
            inflate(drawn, factor),
            jnp.mean(drawn, axis=0),
            kde.effective_sample_size(mixture.log_weights),
            alive,
            stats.num_steps,
            stats.num_rejected,
            stats.ok,
        )

    def _condition(self, key, forecast, alive, predicted, y) -> Outcome:
        predicted = like(forecast, ensemble("predicted", predicted))
        same_members("predicted", predicted, "forecast", forecast)
        vector("y", y, predicted.shape[1])
        predicted, alive = with_stand_ins(predicted, alive)
        h_x = resolve(self.state_bandwidth, forecast, "state_bandwidth")
        h_y = resolve(self.obs_bandwidth, predicted, "obs_bandwidth", y)
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
