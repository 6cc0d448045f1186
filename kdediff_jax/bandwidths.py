"""Bandwidth rules: kernel widths from the ensemble itself, inside the compiled cycle."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax

from . import kde
from ._checks import concrete, per_coordinate, positive
from ._typing import Array, Float, Number, Scalar, like, tunable


class AbstractBandwidth(eqx.Module):
    """A rule that takes the place of a number wherever a bandwidth is asked for."""

    @abc.abstractmethod
    def __call__(self, data: Float[Array, "n d"]) -> Float[Array, " d"]:
        """Return one bandwidth per coordinate of the equally weighted data."""


class Silverman(AbstractBandwidth):
    """h_j = factor (4 / ((d + 2) n))^(1 / (d + 4)) std_j (Silverman 1986, Eq. 4.14).

    Optimal for Gaussian data at factor 1; a clearly multimodal density wants less.
    """

    factor: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the factor."""
        positive("factor", self.factor)

    def __call__(self, data: Float[Array, "n d"]) -> Float[Array, " d"]:
        """Return the bandwidths."""
        n, d = data.shape
        return like(data, self.factor) * silverman(n, d) * deviations(data)


class Scott(AbstractBandwidth):
    """h_j = factor n^(-1 / (d + 4)) std_j (Scott 1992, Eq. 6.42)."""

    factor: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the factor."""
        positive("factor", self.factor)

    def __call__(self, data: Float[Array, "n d"]) -> Float[Array, " d"]:
        """Return the bandwidths."""
        n, d = data.shape
        return like(data, self.factor) * n ** (-1 / (d + 4)) * deviations(data)


class TargetESS(eqx.Module):
    r"""A measurement bandwidth: std_j of the predictions times the number that gives ESS = f N.

    The kernel effective sample size grows with the bandwidth; bisection over its logarithm,
    O(N m) an evaluation. Where even `smallest` leaves more members, `smallest` it is: a
    measurement that says little is not made to say more.

    Args:
        fraction: f, in (0, 1).
        smallest, largest: bounds of the number.
    """

    fraction: Number = tunable(0.5)
    smallest: Number = tunable(0.05)
    largest: Number = tunable(100.0)

    def __check_init__(self) -> None:
        """Check the numbers."""
        for name in ("fraction", "smallest", "largest"):
            positive(name, getattr(self, name))
        known = concrete(self.fraction)
        if known is not None and not (known < 1).all():
            raise ValueError(f"fraction: expected a number in (0, 1), got {known.tolist()}")

    def __call__(self, predicted: Float[Array, "n m"], y: Float[Array, " m"]) -> Array:
        """Return one bandwidth per component."""
        std = deviations(predicted)
        target = like(predicted, self.fraction) * predicted.shape[0]

        def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            log_weights = kde.log_weights(y, predicted, jnp.exp(middle) * std)
            enough = kde.effective_sample_size(log_weights) >= target
            return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

        bounds = jnp.log(like(predicted, self.smallest)), jnp.log(like(predicted, self.largest))
        _, high = lax.fori_loop(0, 20, halve, bounds)
        return lax.stop_gradient(jnp.exp(high) * std)


def moment_shrinkage(width: Scalar) -> Scalar:
    """Return sqrt(1 - h^2), by which centres shrink so that a kernel of width h adds no variance.

    0 from h = 1 on, where the root has an infinite slope. West 1993.
    """
    inside = width < 1
    return jnp.where(inside, jnp.sqrt(jnp.where(inside, 1 - width**2, 1)), 0)


def silverman(n: int, d: int) -> float:
    """Return Silverman's width for n draws of N(0, I) in d dimensions."""
    return (4 / ((d + 2) * n)) ** (1 / (d + 4))


def resolve(
    bandwidth: Any, data: Float[Array, "n d"], name: str, y: Float[Array, " d"] | None = None
) -> Array:
    """Return a bandwidth as an array: a number, one per coordinate, or what a rule says.

    Raises:
        TypeError: a rule for measurements where there is none.
    """
    if isinstance(bandwidth, TargetESS):
        if y is None:
            raise TypeError(f"{name}: TargetESS is a rule for the measurement bandwidth")
        return bandwidth(data, y)
    if isinstance(bandwidth, AbstractBandwidth):
        return bandwidth(data)
    per_coordinate(name, bandwidth, data.shape[1])
    return like(data, bandwidth)


def deviations(data: Float[Array, "n d"]) -> Float[Array, " d"]:
    """Return the standard deviation of each coordinate, never zero."""
    variance = jnp.var(data, axis=0, ddof=1)
    # no square root of zero: its gradient is infinite
    none = variance == 0
    std = jnp.where(none, 0, jnp.sqrt(jnp.where(none, 1, variance)))
    # a constant coordinate still needs a positive width: rounding of the largest one, or of 1
    eps = jnp.finfo(data.dtype).eps
    return jnp.maximum(std, eps * jnp.where(jnp.max(std) > 0, jnp.max(std), 1))
