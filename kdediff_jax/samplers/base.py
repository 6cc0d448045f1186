"""The sampler protocol and the coordinates in which the reverse diffusions are solved."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from .. import pairwise
from .._checks import ensemble, per_coordinate, positive, same_members
from .._printing import printed
from .._typing import Array, Bool, Float, Int, Key, Scalar, like
from ..numerics import cholesky, dot, safe_sqrt
from ..schedules import AbstractSchedule
from .exponential import DrivenTerm, ExponentialMultistep


class SamplerStats(NamedTuple):
    """Cost and outcome of one draw: accepted steps, rejected steps, success."""

    num_steps: Int[Array, ""]
    num_rejected: Int[Array, ""]
    ok: Bool[Array, ""]


class AbstractSampler(eqx.Module):
    """Draws n equally weighted samples of a Gaussian mixture with a common diagonal kernel."""

    def __repr__(self) -> str:
        return printed(self)

    @abc.abstractmethod
    def __call__(
        self,
        key: Key,
        n: int,
        centres: Float[Array, "m d"],
        log_weights: Float[Array, " m"],
        bandwidth: Float[Array, " d"] | Scalar,
    ) -> tuple[Float[Array, "n d"], SamplerStats]:
        """Return n samples and the cost of drawing them."""


def checked(
    centres: Array, log_weights: Array, bandwidth: Array | float
) -> tuple[Array, Array, Array]:
    """Return the mixture's three arrays in one dtype, or say which one does not fit."""
    centres = ensemble("centres", centres, minimum=1)
    same_members("log_weights", log_weights, "centres", centres)
    positive("bandwidth", bandwidth)
    per_coordinate("bandwidth", bandwidth, centres.shape[1])
    return centres, like(centres, log_weights), like(centres, bandwidth)


class Transport(NamedTuple):
    """The mixture in coordinates of zero weighted mean and unit scale, with its noise range.

    Tolerances become dimensionless, and a far origin costs float32 no digits.
    """

    centres: Float[Array, "m d"]
    log_weights: Float[Array, " m"]
    origin: Float[Array, " d"]
    scale: Float[Array, " d"] | Scalar
    root: Float[Array, "d d"]  # root of the covariance of p at tau_max
    prior_mean: Float[Array, " d"]
    tau_min: Array
    tau_max: Array

    def initial(self, latents: Float[Array, "n d"], start: str) -> Float[Array, "n d"]:
        """Place the latents at tau_max: by the mixture's moments, or as the paper does."""
        if start == "matched":
            return dot(latents, self.root.T)
        return self.prior_mean[None] + _row(self.tau_max / self.scale, latents) * latents

    def pull(
        self, schedule: AbstractSchedule, t: Any, x: Float[Array, "n d"], core: str = "tiled"
    ) -> Array:
        """Return (d log tau / dt) (m(x) - x)."""
        rate = schedule.rate(like(x, t), self.tau_min, self.tau_max)
        return _row(rate, x) * self.shift(schedule, t, x, core)

    def shift(self, schedule: AbstractSchedule, t: Any, x: Float[Array, "n d"], core: str) -> Array:
        """Return m(x) - x."""
        tau = schedule.tau(like(x, t), self.tau_min, self.tau_max) / self.scale
        if core == "fused":
            from .. import fused  # loads Pallas

            return fused.softmax_shift(x, self.centres, self.log_weights, tau)[0]
        return pairwise.softmax_shift(x, self.centres, self.log_weights, tau)[0]

    def reverse_flow(
        self, schedule: AbstractSchedule, solver: diffrax.AbstractSolver, core: str
    ) -> Any:
        """Return dx = (x - m) d log tau as the solver takes it: by u = log tau, or by t."""
        if not isinstance(solver, ExponentialMultistep):
            return diffrax.ODETerm(lambda t, x, args: -self.pull(schedule, t, x, core))
        dtype, width = self.centres.dtype, self.centres.shape[1:]

        def increment(t0: Any, t1: Any) -> Array:
            before, after = (
                schedule.tau(jnp.asarray(t, dtype), self.tau_min, self.tau_max) for t in (t0, t1)
            )
            return jnp.broadcast_to(jnp.log(after / before), width)[None]

        return DrivenTerm(lambda t, x, args: -self.shift(schedule, t, x, core), increment)

    def restore(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return points in the state's own coordinates."""
        return self.origin[None] + x * _row(self.scale, x)


def transport(
    centres: Array, log_weights: Array, bandwidth: Array | float, schedule: AbstractSchedule
) -> tuple[Transport, Bool[Array, ""]]:
    """Return the scaled problem, and whether 0 < bandwidth < tau_max, which may be traced.

    Raises:
        ValueError: shapes that do not fit, a bandwidth that is not positive, or (where both are
            concrete) tau_max not above the bandwidth.
    """
    centres, log_weights, bandwidth = checked(centres, log_weights, bandwidth)
    d = centres.shape[1]
    weights = jax.nn.softmax(log_weights)
    # two passes for far origins; weighted, so that a diverged member of no weight costs no digits
    base = dot(weights, centres)
    local = centres - base[None]
    shift = dot(weights, local)
    local = local - shift[None]
    covariance = dot((local * weights[:, None]).T, local)
    variances = jnp.diagonal(covariance)
    spread = safe_sqrt(variances)
    tau_max = schedule.start(bandwidth, spread)
    schedule.check_above(bandwidth)
    variance = variances if bandwidth.ndim else jnp.mean(variances)
    scale = jnp.sqrt(variance + bandwidth**2)
    total = covariance + jnp.diag(jnp.broadcast_to(tau_max**2, (d,)))
    problem = Transport(
        centres=local / _row(scale, local),
        log_weights=log_weights,
        origin=base + shift,
        scale=scale,
        root=cholesky(total) / _row(scale, local).T,
        prior_mean=jnp.mean(local, axis=0) / scale,
        tau_min=bandwidth,
        tau_max=tau_max,
    )
    return problem, jnp.all((bandwidth > 0) & (tau_max > bandwidth) & jnp.isfinite(tau_max))


def _row(value: Array, x: Float[Array, "n d"]) -> Float[Array, "1 d"]:
    """Return a number or a number per coordinate as a row that multiplies the members."""
    return jnp.broadcast_to(value, x.shape[1:])[None]
