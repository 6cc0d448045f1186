"""Bandwidth rules: kernel widths from the ensemble itself, inside the compiled cycle."""

from __future__ import annotations

import abc
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax

from . import kde, pairwise
from ._checks import concrete, count, per_coordinate, positive
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
        return like(data, self.factor) * silverman(n, d) * _std(data)


class Scott(AbstractBandwidth):
    """h_j = factor n^(-1 / (d + 4)) std_j (Scott 1992, Eq. 6.42)."""

    factor: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the factor."""
        positive("factor", self.factor)

    def __call__(self, data: Float[Array, "n d"]) -> Float[Array, " d"]:
        """Return the bandwidths."""
        n, d = data.shape
        return like(data, self.factor) * n ** (-1 / (d + 4)) * _std(data)


class LeaveOneOut(AbstractBandwidth):
    r"""Silverman's shape with the factor f that maximises the leave-one-out likelihood.

    sum_i log 1/(n-1) sum_{j != i} N(x_i; x_j, f^2 h^2), closed form (Habbema, Hermans and van den
    Broek 1974; Duin 1976). A golden-section search over log f, so that the bracket only shrinks;
    every evaluation is one pass of the pairwise core. Two modes far apart make f small.

    Args:
        smallest, largest: bounds of f. Members that coincide would drive f to zero.
        evaluations: passes over the pairs.
    """

    smallest: Number = tunable(0.1)
    largest: Number = tunable(2.0)
    evaluations: int = eqx.field(static=True, default=10)

    def __check_init__(self) -> None:
        """Check the bounds."""
        positive("smallest", self.smallest)
        positive("largest", self.largest)
        count("evaluations", self.evaluations, 3)

    def __call__(self, data: Float[Array, "n d"]) -> Float[Array, " d"]:
        """Return the bandwidths; constant in the data where it is differentiated."""
        n, d = data.shape
        shape = silverman(n, d) * _std(data)
        z = lax.stop_gradient((data - jnp.mean(data, axis=0, keepdims=True)) / shape[None])

        def score(log_factor: Scalar) -> Scalar:
            return leave_one_out(z, jnp.exp(log_factor))

        low, high = jnp.log(like(data, self.smallest)), jnp.log(like(data, self.largest))
        golden = (5**0.5 - 1) / 2
        left, right = high - golden * (high - low), low + golden * (high - low)
        state = (low, high, left, right, score(left), score(right))

        def shrink(_: int, state: tuple) -> tuple:
            low, high, left, right, at_left, at_right = state
            go_left = at_left > at_right
            low, high = jnp.where(go_left, low, left), jnp.where(go_left, right, high)
            kept = jnp.where(go_left, left, right)
            at_kept = jnp.where(go_left, at_left, at_right)
            new = jnp.where(go_left, high - golden * (high - low), low + golden * (high - low))
            at_new = score(new)
            pairs = (new, kept, at_new, at_kept), (kept, new, at_kept, at_new)
            left, right, at_left, at_right = (
                jnp.where(go_left, a, b) for a, b in zip(*pairs, strict=True)
            )
            return low, high, left, right, at_left, at_right

        state = lax.fori_loop(0, self.evaluations - 2, shrink, state)
        _, _, left, right, at_left, at_right = state
        return jnp.exp(jnp.where(at_left > at_right, left, right)) * shape


def leave_one_out(data: Float[Array, "n d"], bandwidth: Array) -> Scalar:
    """Return the mean over i of log 1/(n-1) sum_{j != i} N(x_i; x_j, bandwidth^2).

    A member without any neighbour counts as having one at the distance where the kernel has
    fallen to rounding.
    """
    n, d = data.shape
    zeros = jnp.zeros(n, data.dtype)
    _, log_sum = pairwise.softmax_shift(data, data, zeros, bandwidth)
    # the member itself contributes exp(0)
    others = jnp.log(jnp.maximum(jnp.expm1(log_sum), jnp.finfo(data.dtype).eps))
    widths = jnp.sum(jnp.log(jnp.broadcast_to(bandwidth, (d,))))
    return jnp.mean(others) - math.log(n - 1) - 0.5 * d * math.log(2 * math.pi) - widths


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
        std = _std(predicted)
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


def _std(data: Float[Array, "n d"]) -> Float[Array, " d"]:
    variance = jnp.var(data, axis=0, ddof=1)
    # no square root of zero: its gradient is infinite
    none = variance == 0
    std = jnp.where(none, 0, jnp.sqrt(jnp.where(none, 1, variance)))
    # a constant coordinate still needs a positive width: rounding of the largest one, or of 1
    eps = jnp.finfo(data.dtype).eps
    return jnp.maximum(std, eps * jnp.where(jnp.max(std) > 0, jnp.max(std), 1))
