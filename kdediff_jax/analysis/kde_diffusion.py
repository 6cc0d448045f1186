"""The method: analysis by closed-form conditional diffusion."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import kde
from .._checks import choice, concrete, ensemble, positive, same_members, vector
from .._linalg import solve_lower
from .._typing import Array, Bool, Float, Key, Scalar, like, numbers_to_leaves, tunable
from ..bandwidths import AbstractBandwidth, TargetESS
from ..leave_one_out import ConditionalLeaveOneOut
from ..observations import AbstractObservation, sample_ensemble
from ..samplers import AbstractSampler, ExactMixture, ProbabilityFlow
from .base import AbstractAnalysis, AnalysisInfo, Outcome, guard, with_stand_ins
from .bridge import CovarianceKernel, bridge
from .inflation import inflate
from .local_bridge import local_bridge
from .localisation import Localisation
from .noise import Measurement, from_pairs, split
from .product_kernel import ProductKernel, condition

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
        state_bandwidth: h_x, a number, one per coordinate, or a rule, in the state's units (or the
            `ProductKernel`'s coordinates); `ConditionalLeaveOneOut()` sets h_y too. With the
            covariance kernel the number h in (0, 1], in units of the ensemble's spread, or None to
            choose itself.
        obs_bandwidth: h_y, likewise (or `TargetESS`), in the measurement's units; not with the
            covariance kernel.
        sampler: `ProbabilityFlow`, `ReverseSDE` or `ExactMixture`. By default the flow for the
            product kernel, and for the covariance kernel systematic mixture draws: with nearly
            equal weights they keep every member, where the flow's draws lose some each cycle.
        kernel: "product", the paper's, or a `ProductKernel`; "covariance" or a `CovarianceKernel`.
            By default "product" where a bandwidth is given.
        localisation: where coordinates and measurements are, for large systems: every coordinate
            is then analysed by the measurements near it, see
            `kdediff_jax.analysis.local_bridge`. With the covariance kernel; the sampler is then
            each coordinate's own flow, in closed form, and R must be diagonal.

    Raises:
        ValueError: a bandwidth that is not positive, missing or one too many, an unknown kernel.
    """

    state_bandwidth: Any = tunable(None, kw_only=True)
    obs_bandwidth: Any = tunable(None, kw_only=True)
    sampler: AbstractSampler = eqx.field(kw_only=True)
    kernel: ProductKernel | CovarianceKernel = eqx.field(kw_only=True)
    localisation: Localisation | None = eqx.field(kw_only=True)

    def __init__(
        self,
        *,
        state_bandwidth: Any = None,
        obs_bandwidth: Any = None,
        sampler: AbstractSampler | None = None,
        kernel: Any = None,
        localisation: Localisation | None = None,
    ) -> None:
        """Choose the kernel."""
        self.localisation = localisation
        self.state_bandwidth = state_bandwidth
        self.obs_bandwidth = obs_bandwidth
        if kernel is None:
            none = state_bandwidth is None and obs_bandwidth is None
            kernel = "covariance" if none else "product"
        if isinstance(kernel, str):
            choice("kernel", kernel, KERNELS)
            kernel = CovarianceKernel() if kernel == "covariance" else ProductKernel()
        self.kernel = kernel
        if sampler is not None and localisation is not None:
            raise ValueError(
                "sampler: expected None with a localisation, which draws each coordinate by its "
                f"own flow, got {sampler!r}"
            )
        if sampler is None:
            mixture = ExactMixture(latents="independent-matched")
            sampler = mixture if isinstance(kernel, CovarianceKernel) else ProbabilityFlow()
        self.sampler = sampler

    def __check_init__(self) -> None:
        """Check the options and the values that are known."""
        if self.localisation is not None and not isinstance(self.localisation, Localisation):
            raise TypeError(f"localisation: expected a Localisation, got {self.localisation!r}")
        if self.localisation is not None and isinstance(self.kernel, ProductKernel):
            raise ValueError("localisation: expected the covariance kernel, got the product kernel")
        if not isinstance(self.sampler, AbstractSampler):
            raise TypeError(f"sampler: expected a sampler, got {self.sampler!r}")
        if not isinstance(self.kernel, ProductKernel):
            self._check_covariance()
            return
        if isinstance(self.state_bandwidth, ConditionalLeaveOneOut):
            if self.obs_bandwidth is not None:
                raise ValueError(
                    "obs_bandwidth: expected None with ConditionalLeaveOneOut, which sets both, "
                    f"got {self.obs_bandwidth!r}"
                )
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
                f"kernel: expected one of {KERNELS}, a ProductKernel or a CovarianceKernel, "
                f"got {self.kernel!r}"
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
        if isinstance(self.kernel, CovarianceKernel):
            measurement = split(observation, predict_key, forecast, t, self.kernel.noise)
            return self._bridge(self.kernel, draw_key, forecast, alive, y, measurement)
        if self.kernel.replicates == 1:
            predicted = sample_ensemble(observation, predict_key, forecast, t)[None]
        else:
            keys = jax.random.split(predict_key, self.kernel.replicates)
            predicted = jax.vmap(lambda k: sample_ensemble(observation, k, forecast, t))(keys)
        return self._condition(self.kernel, draw_key, forecast, alive, predicted, y)

    def update(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        predicted: Float[Array, "n m"],
        y: Float[Array, " m"],
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        """Condition on y given the pairs alone: the black-box core, with no simulator.

        It is compiled on first use, as a call is.

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
        return numbers_to_leaves(self)._update(key, forecast, jnp.asarray(predicted), y)

    @eqx.filter_jit
    def _update(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        predicted: Float[Array, "n m"],
        y: Float[Array, " m"],
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        safe, alive = with_stand_ins(forecast)
        if isinstance(self.kernel, ProductKernel):
            one = predicted[None]
            return guard(forecast, y, self._condition(self.kernel, key, safe, alive, one, y))
        pairs = like(forecast, ensemble("predicted", predicted))
        same_members("predicted", pairs, "forecast", forecast)
        both, alive = with_stand_ins(jnp.concatenate([safe, pairs], axis=1), alive)
        d = forecast.shape[1]
        measurement = from_pairs(both[:, :d], both[:, d:])
        outcome = self._bridge(self.kernel, key, both[:, :d], alive, y, measurement)
        return guard(forecast, y, outcome)

    def _bridge(
        self,
        kernel: CovarianceKernel,
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
        h = self.state_bandwidth
        if self.localisation is not None:
            near = self.localisation
            local = local_bridge(kernel, near, key, forecast, alive, y, measurement, h)
            return Outcome(
                inflate(local.members, local.inflation[None]),
                jnp.mean(local.members, axis=0),
                local.ess,
                alive,
            )
        kalman_key, draw_key = jax.random.split(key)
        mixture, _, factor = bridge(kernel, kalman_key, forecast, alive, y, measurement, h)
        # whitened by the components' covariance it is the isotropic mixture of bandwidth 1
        weights = jnp.exp(mixture.log_weights)
        origin = jnp.matmul(weights[None], mixture.means, precision="highest")
        whitened = solve_lower(mixture.root, (mixture.means - origin).T).T
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

    def _condition(
        self,
        kernel: ProductKernel,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        predicted: Float[Array, "r n m"],
        y: Float[Array, " m"],
    ) -> Outcome:
        same_members("predicted", ensemble("predicted", predicted[0]), "forecast", forecast)
        predicted = like(forecast, predicted)
        vector("y", y, predicted.shape[2])
        pair = self.state_bandwidth, self.obs_bandwidth
        return condition(kernel, pair, self.sampler, key, forecast, alive, predicted, y)
