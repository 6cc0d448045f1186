r"""Measurements in steps: rounded to a digit, counted in bins, cut off at the ends of a range.

The instrument reads the nearest of its levels, y = clip(q round((h(x) + e) / q), low, high) with
e ~ N(0, std^2). What it says is that h(x) + e lay in the cell [a, b] of that level, open at the
ends of the range,

    p(y | x) = Phi((b - h(x)) / std) - Phi((a - h(x)) / std),

flat inside a cell and steep at its edges where std is small beside q.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr

from .._checks import concrete, measured, per_coordinate, positive, vector
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from ..numerics import row_major
from .base import AbstractLikelihood


class QuantisedObservation(AbstractLikelihood):
    """A measurement that is rounded to steps and saturates: y = clip(round(h(x) + e), low, high).

    Its density is known, and `EnKPF` weighs by it where it is given the observation as it is. To
    have a filter find it out by simulation, give it a class with `sample` alone.

    Args:
        operator: x [d] -> h(x) [m]; an `eqx.Module` or a module-level function.
        std: noise before the rounding, a number or one per component, in the units of y.
        step: distance of the levels, which are its multiples; likewise.
        low: lowest level, -infinity for none; likewise.
        high: highest level.

    Raises:
        ValueError: std or step not positive; low or high not a level; low not below high.
        TypeError: an operator that is no function.
    """

    operator: Callable[[Array], Array]
    std: Number = tunable()
    step: Number = tunable()
    low: Number = tunable(-jnp.inf)
    high: Number = tunable(jnp.inf)

    def __check_init__(self) -> None:
        """Check the operator and the numbers that are known."""
        if not callable(self.operator) or isinstance(self.operator, type):
            raise TypeError(f"operator: expected a callable x -> h(x), got {self.operator!r}")
        positive("std", self.std)
        positive("step", self.step)
        step, low, high = (concrete(each) for each in (self.step, self.low, self.high))
        for name, level in (("low", low), ("high", high)):
            if level is not None and step is not None:
                _check_level(name, level, step)
        if low is not None and high is not None and not np.all(low < high):
            raise ValueError(f"low: expected below high ({high.tolist()}), got {low.tolist()}")

    def mean(self, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Return operator(x): what would be read without noise and steps."""
        value = row_major(measured("operator", "h(x)", self.operator(x)))
        for name in ("std", "step", "low", "high"):
            per_coordinate(name, getattr(self, name), value.shape[0])
        return value

    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Draw a level."""
        value = self.mean(x, t)
        exact = value + like(value, self.std) * jax.random.normal(key, value.shape, value.dtype)
        step = like(value, self.step)
        return jnp.clip(
            step * jnp.round(exact / step), like(value, self.low), like(value, self.high)
        )

    def log_likelihood(self, y: Float[Array, " m"], x: Float[Array, " d"], t: Scalar) -> Scalar:
        """Return the log-probability of the levels that are not NaN."""
        value = self.mean(x, t)
        vector("y", y, value.shape[0])
        missing = jnp.isnan(y)
        std, step, low, high = (
            jnp.broadcast_to(like(value, each), value.shape)
            for each in (self.std, self.step, self.low, self.high)
        )
        # the level nearest to y: half a step further is an edge whatever the rounding of y
        level = step * jnp.round(jnp.where(missing, 0, y) / step)
        below = jnp.where(level <= low, -jnp.inf, (level - 0.5 * step - value) / std)
        above = jnp.where(level >= high, jnp.inf, (level + 0.5 * step - value) / std)
        return jnp.sum(jnp.where(missing, 0, _log_between(below, above)))


def _log_between(a: Array, b: Array) -> Array:
    """Return log(Phi(b) - Phi(a)) for a < b, without loss in either tail."""
    mirrored = a + b > 0  # both ends in the lower tail, where small probabilities are exact
    a, b = jnp.where(mirrored, -b, a), jnp.where(mirrored, -a, b)
    upper, lower = log_ndtr(b), log_ndtr(jnp.maximum(a, -1e18))
    # far out the two may be equal by rounding: the interval's density at its nearer end is left
    gap = jnp.minimum(lower - upper, -jnp.finfo(a.dtype).eps)
    return upper + jnp.log(-jnp.expm1(gap))


def _check_level(name: str, level: np.ndarray, step: np.ndarray) -> None:
    """Check that a level, unless infinite, is a multiple of the step."""
    if np.isnan(level).any():
        raise ValueError(f"{name}: expected a level, got {level.tolist()}")
    levels, steps = np.broadcast_arrays(level, step)
    known = np.isfinite(levels)
    ratio = levels[known] / steps[known]
    if np.any(np.abs(ratio - np.round(ratio)) > 1e-4):
        raise ValueError(
            f"{name}: expected a multiple of step ({step.tolist()}), got {level.tolist()}"
        )
