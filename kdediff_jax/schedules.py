r"""Noise schedules: how the total kernel width tau runs over diffusion time t in [0, 1].

tau(0) is the state bandwidth (data), tau(1) is tau_max (noise); the reverse flow runs t = 1 to 0.
Every coordinate follows d x / d log(tau) = x - m(x, tau), so a schedule only sets the clock.
"""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ._checks import choice, concrete, positive
from ._typing import Array, Float, Number, Scalar, like, tunable


class AbstractSchedule(eqx.Module):
    """A monotone path of tau between the state bandwidth and its start."""

    @abc.abstractmethod
    def start(self, bandwidth: Array, spread: Float[Array, " d"]) -> Array:
        """Return the first tau, in the shape of `bandwidth`, given the spread per coordinate."""

    @abc.abstractmethod
    def tau(self, t: Scalar, tau_min: Array, tau_max: Array) -> Array:
        """Return the noise level at t."""

    @abc.abstractmethod
    def rate(self, t: Scalar, tau_min: Array, tau_max: Array) -> Array:
        """Return d log(tau) / dt at t."""

    def check_above(self, bandwidth: Any) -> None:
        """Raise ValueError if the start is known to lie at or below the bandwidth."""
        known = concrete(bandwidth)
        if known is None:
            return
        start = concrete(self.start(jnp.asarray(known), jnp.zeros(known.shape)))
        if start is not None and (start <= known).any():
            raise ValueError(
                f"tau_max: expected more than the state bandwidth {known.tolist()}, "
                f"got {start.tolist()}"
            )


def default_schedule() -> AbstractSchedule:
    """Return the samplers' default: log-spaced, from five spreads of the kernel density down."""
    return VarianceExploding(tau_max=5.0, relative=True)


class VarianceExploding(AbstractSchedule):
    """Variance-exploding schedule: noise is added, the state is not shrunk.

    Args:
        tau_max: width at the start of the reverse flow, in the state's units, a number or one per
            coordinate; with `relative=True` in units of sqrt(spread^2 + bandwidth^2).
        spacing: "log" (log tau linear in t: the smooth clock, fewest steps) or "linear" (tau linear
            in t, the paper's).
        relative: measure tau_max by the weighted spread of the ensemble, so that one number serves
            every problem.

    Raises:
        ValueError: tau_max not positive (at most 1 if relative), or an unknown spacing.
    """

    tau_max: Number = tunable(30.0)
    spacing: str = eqx.field(static=True, default="log")
    relative: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        """Check the values that are known."""
        choice("spacing", self.spacing, ("log", "linear"))
        positive("tau_max", self.tau_max)
        known = concrete(self.tau_max)
        if self.relative and known is not None and (known <= 1).any():
            raise ValueError(
                f"tau_max: expected more than 1 when relative (it is in units of the spread), "
                f"got {known.tolist()}"
            )

    def start(self, bandwidth: Array, spread: Float[Array, " d"]) -> Array:
        """Return tau_max in the state's units."""
        tau_max = like(bandwidth, self.tau_max)
        if not self.relative:
            return jnp.broadcast_to(tau_max, jnp.broadcast_shapes(tau_max.shape, bandwidth.shape))
        variance = spread**2 if bandwidth.ndim else jnp.mean(spread**2)
        return tau_max * jnp.sqrt(variance + bandwidth**2)

    def tau(self, t: Scalar, tau_min: Array, tau_max: Array) -> Array:
        """Return tau_min^(1-t) tau_max^t, or the straight line."""
        if self.spacing == "log":
            return tau_min * (tau_max / tau_min) ** t
        return tau_min + (tau_max - tau_min) * t

    def rate(self, t: Scalar, tau_min: Array, tau_max: Array) -> Array:
        """Return d log(tau) / dt."""
        if self.spacing == "log":
            return jnp.log(tau_max / tau_min)
        return (tau_max - tau_min) / self.tau(t, tau_min, tau_max)
