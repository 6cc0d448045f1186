r"""The paper's method: analysis by closed-form conditional diffusion, and nothing else.

Source: Binder, Dasgupta and Oberai 2026, arXiv 2603.21291. Members x_i and their simulated
measurements y_i define a Gaussian kernel density of the pair. Conditioned on the measurement y,

    p(x | y) = sum_i w_i N(x; x_i, h_x^2),      w_i ∝ exp(-|y - y_i|^2 / (2 h_y^2)),

and the sampler integrates the reverse diffusion of its closed-form score (`kdediff_jax.kde`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.nn import log_softmax
from jax.scipy.special import logsumexp

from .. import kde
from .._checks import choice, count, positive, vector
from .._typing import Array, Bool, Float, Key, Number, Scalar, as_leaf, like
from ..bandwidths import (
    AbstractBandwidthPair,
    FixedBandwidth,
    SeparateBandwidths,
    Silverman,
    TargetESS,
    as_bandwidth,
)
from ..ensemble.scaling import SCALINGS, Scale, scale_of
from ..numerics import split_missing
from ..observations import AbstractObservation
from ..samplers import AbstractSampler, ProbabilityFlow
from .base import AbstractPairedAnalysis
from .outcome import Outcome
from .pairs import admit_pairs
from .predict import simulate
from .safeguards import Safeguards, gross_errors, normalised_innovation


class KDEDiffusion(AbstractPairedAnalysis):
    r"""Draw the analysis from the kernel density of (state, measurement), conditioned on y.

    Only `sample` of the observation is used. For N → infinity and a linear-Gaussian problem this is
    the Kalman analysis computed with R + h_y^2 I, with h_x^2 I added to its covariance.

    Args:
        state_bandwidth: h_x, a number, one per coordinate, or a rule (`kdediff_jax.bandwidths`), in
            the state's units, or those of `scaling`. `ConditionalLeaveOneOut()` sets h_y too.
        obs_bandwidth: h_y, likewise, in the measurement's units.
        scaling: None for the state's and measurement's own units. "standardised": each coordinate
            is divided by its standard deviation over the forecast, or over the simulated
            measurements. "whitened": both are turned and scaled to unit covariance (shrunk towards
            the diagonal, so that N <= d works). One dimensionless pair of bandwidths then means the
            same on every problem and in every cycle.
        replicates: measurements simulated per member. More of them calm the weights, which are
            then w_i ∝ sum_r exp(-|y - y_ir|^2 / (2 h_y^2)).
        sampler: `ProbabilityFlow`, `ReverseSDE` or `ExactMixture`.
        gross_error: a component of the measurement further than this many standard deviations of
            the simulated measurements from their mean is left out. Infinity, as in the paper, for
            never: weights relative to the nearest member survive any measurement.
        safeguards: who may take part, and what goes on after a failure.

    Raises:
        ValueError: a bandwidth that is not positive, obs_bandwidth beside a rule that sets both,
            other scalings, fewer than one replicate, tau_max not above the bandwidth.
        TypeError: a sampler of another kind, a rule for measurements as state bandwidth.
    """

    bandwidths: AbstractBandwidthPair
    scaling: str | None = eqx.field(static=True)
    replicates: int = eqx.field(static=True)
    sampler: AbstractSampler
    gross_error: Number

    def __init__(
        self,
        state_bandwidth: Any = None,
        obs_bandwidth: Any = None,
        *,
        scaling: str | None = None,
        replicates: int = 1,
        sampler: AbstractSampler | None = None,
        gross_error: Number = math.inf,
        safeguards: Safeguards | None = None,
    ) -> None:
        """Make a pair of rules of the two bandwidths."""
        self.bandwidths = _as_pair(state_bandwidth, obs_bandwidth)
        self.scaling = scaling
        self.replicates = replicates
        self.sampler = ProbabilityFlow() if sampler is None else sampler
        self.gross_error = as_leaf(gross_error)
        self.safeguards = Safeguards() if safeguards is None else safeguards

    def __check_init__(self) -> None:
        """Check the options and the values that are known."""
        if self.scaling is not None:
            choice("scaling", self.scaling, SCALINGS)
        count("replicates", self.replicates)
        positive("gross_error", self.gross_error, infinite=True)
        if not isinstance(self.sampler, AbstractSampler):
            raise TypeError(f"sampler: expected a sampler, got {self.sampler!r}")
        schedule = getattr(self.sampler, "schedule", None)
        state = getattr(self.bandwidths, "state", None)
        if schedule is not None and isinstance(state, FixedBandwidth):
            schedule.check_above(state.value)

    def analyse(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar,
    ) -> Outcome:
        """Simulate measurements of every member, then condition on y."""
        predict_key, draw_key = jax.random.split(key)
        simulated = simulate(predict_key, forecast, observation, t, self.replicates)
        return self._condition(draw_key, forecast, alive, simulated, y)

    def analyse_pairs(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        simulated: Float[Array, "n m"],
        y: Float[Array, " m"],
    ) -> Outcome:
        """Condition on y, given one simulated measurement of every member."""
        return self._condition(key, forecast, alive, simulated[None], y)

    def _condition(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        simulated: Float[Array, "r n m"],
        y: Float[Array, " m"],
    ) -> Outcome:
        """Scale, weigh, draw, scale back."""
        vector("y", y, simulated.shape[2])
        forecast, simulated, alive, y = _usable(
            forecast, simulated, alive, y, self.safeguards.far_member
        )
        gross, innovation = self._checked(simulated, y)
        y = jnp.where(gross, jnp.nan, y)
        pairs, state_scale = _scaled(forecast, simulated, y, self.scaling)
        h_x, h_y = self.bandwidths(pairs.members, pairs.simulated, pairs.y)
        log_weights = _weigh(pairs, alive, h_y)
        drawn, stats = self.sampler(key, forecast.shape[0], pairs.members, log_weights, h_x)
        analysis = drawn if state_scale is None else state_scale.restore(drawn)
        # a traced bandwidth reaches this place unchecked
        valid = stats.ok & jnp.all(h_x > 0) & jnp.all(h_y > 0)
        return Outcome(
            ensemble=analysis,
            mean=jnp.mean(analysis, axis=0),
            ess=kde.effective_sample_size(log_weights),
            alive=alive,
            num_steps=stats.num_steps,
            num_rejected=stats.num_rejected,
            ok=valid,
            gross_errors=gross,
            normalised_innovation=innovation,
        )

    def _checked(
        self, simulated: Float[Array, "r n m"], y: Float[Array, " m"]
    ) -> tuple[Bool[Array, " m"], Scalar]:
        """Return which components are gross errors, and the normalised innovation."""
        flat, measured = simulated.reshape(-1, y.shape[0]), ~jnp.isnan(y)
        innovation = jnp.where(measured, y - jnp.mean(flat, axis=0), 0)
        variance = jnp.var(flat, axis=0, ddof=1)  # of simulated measurements: P_hh + R
        gross = gross_errors(innovation, variance, like(variance, self.gross_error))
        return gross, normalised_innovation(innovation, variance, measured)


def _as_pair(state: Any, obs: Any) -> AbstractBandwidthPair:
    """Return the rule for both bandwidths that two arguments stand for."""
    if isinstance(state, AbstractBandwidthPair):
        if obs is not None:
            raise ValueError(
                f"obs_bandwidth: expected None with {type(state).__name__}, which sets both, "
                f"got {obs!r}"
            )
        return state
    if isinstance(state, TargetESS):
        raise TypeError("state_bandwidth: TargetESS is a rule for the measurement bandwidth")
    state = Silverman(0.5) if state is None else state
    obs = TargetESS(0.5) if obs is None else obs
    return SeparateBandwidths(
        as_bandwidth(state, "state_bandwidth"), as_bandwidth(obs, "obs_bandwidth")
    )


class Pairs(NamedTuple):
    """Members, simulated measurements and the measurement.

    Row r n + i of the simulated measurements is replicate r of member i.
    """

    members: Float[Array, "n d"]
    simulated: Float[Array, "k m"]
    y: Float[Array, " m"]


def _usable(
    forecast: Float[Array, "n d"],
    simulated: Float[Array, "r n m"],
    alive: Bool[Array, " n"],
    y: Float[Array, " m"],
    far_member: Scalar | float,
) -> tuple[Float[Array, "n d"], Float[Array, "r n m"], Bool[Array, " n"], Float[Array, " m"]]:
    """Replace members without a simulated measurement, complete those that lack a component."""
    r, n, m = simulated.shape
    by_member = jnp.moveaxis(simulated, 0, 1).reshape(n, r * m)
    admitted = admit_pairs(forecast, alive, by_member, jnp.tile(y, r), far_member).pairs
    simulated = jnp.moveaxis(admitted.values.reshape(n, r, m), 1, 0)
    # a component that one replicate lacks in every member is lost: NaN in a sum
    y = jnp.mean(admitted.y.reshape(r, m), axis=0)
    return admitted.members, simulated, admitted.alive, y


def _scaled(
    forecast: Float[Array, "n d"],
    simulated: Float[Array, "r n m"],
    y: Float[Array, " m"],
    scaling: str | None,
) -> tuple[Pairs, Scale | None]:
    """Return the problem in the coordinates asked for, and how to come back."""
    flat = simulated.reshape(-1, simulated.shape[2])
    if scaling is None:
        return Pairs(forecast, flat, y), None
    known, measured = split_missing(y)
    of_state = scale_of(forecast, scaling, jnp.ones(forecast.shape[1], bool))
    of_measurement = scale_of(flat, scaling, measured)
    flat = of_measurement.scale(jnp.where(measured[None], flat, 0))
    y = jnp.where(measured, of_measurement.scale(known[None])[0], y)
    return Pairs(of_state.scale(forecast), flat, y), of_state


def _weigh(pairs: Pairs, alive: Bool[Array, " n"], h_y: Array) -> Float[Array, " n"]:
    """Return the normalised log-weights, log sum_r exp(-|y - y_ir|^2 / (2 h_y^2))."""
    each = kde.log_weights(pairs.y, pairs.simulated, h_y).reshape(-1, alive.shape[0])
    return log_softmax(jnp.where(alive, logsumexp(each, axis=0), -jnp.inf))
