"""Bandwidths by leave-one-out likelihood: closed form, from the ensemble alone, in every cycle."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax

from . import pairwise
from ._checks import count, positive
from ._typing import Array, Float, Number, Scalar, like, tunable
from .bandwidths import AbstractBandwidth, AbstractBandwidthPair, deviations, silverman


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
        _check(self)

    def __call__(
        self, data: Float[Array, "n d"], y: Float[Array, " d"] | None = None
    ) -> Float[Array, " d"]:
        """Return the bandwidths; constant in the data where it is differentiated."""
        z, shape = _scaled(data, data.shape[1])

        def score(log_factor: Scalar) -> Scalar:
            return leave_one_out(z, jnp.exp(log_factor))

        return jnp.exp(_golden(score, *_bounds(self, data), self.evaluations)) * shape


class ConditionalLeaveOneOut(AbstractBandwidthPair):
    r"""Both bandwidths at once, by the leave-one-out likelihood of the state given y.

    sum_i log p_{-i}(x_i | y_i), p_{-i} the paper's conditional density without member i: the
    density that the analysis samples, on pairs whose answer is known. Silverman's shape in the
    joint space of state and measurement, with a factor for each; golden-section searches over
    either in turn. An evaluation is one pass over the pairs in d + m coordinates and one in m.

    Give it to `KDEDiffusion` as `state_bandwidth`, with no `obs_bandwidth`.

    Args:
        smallest, largest: bounds of both factors.
        evaluations: of each search.
        rounds: searches of each factor.
    """

    smallest: Number = tunable(0.1)
    largest: Number = tunable(4.0)
    evaluations: int = eqx.field(static=True, default=6)
    rounds: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        """Check the bounds."""
        _check(self)
        count("rounds", self.rounds)

    def __call__(
        self, x: Float[Array, "n d"], simulated: Float[Array, "k m"], y: Float[Array, " m"]
    ) -> tuple[Float[Array, " d"], Float[Array, " m"]]:
        """Return the bandwidths of x and of y; constant in both where differentiated."""
        pairs = simulated[: x.shape[0]]
        joint = x.shape[1] + pairs.shape[1]
        (z, x_shape), (w, y_shape) = _scaled(x, joint), _scaled(pairs, joint)
        low, high = _bounds(self, x)
        f_x = f_y = jnp.clip(jnp.zeros((), x.dtype), low, high)

        def score(a: Scalar, b: Scalar) -> Scalar:
            return conditional_leave_one_out(z, w, jnp.exp(a), jnp.exp(b))

        for _ in range(self.rounds):
            f_y = _golden(lambda b, a=f_x: score(a, b), low, high, self.evaluations)
            f_x = _golden(lambda a, b=f_y: score(a, b), low, high, self.evaluations)
        return jnp.exp(f_x) * x_shape, jnp.exp(f_y) * y_shape


def leave_one_out(data: Float[Array, "n d"], bandwidth: Array) -> Scalar:
    """Return the mean over i of log 1/(n-1) sum_{j != i} N(x_i; x_j, bandwidth^2).

    A member without any neighbour counts as having one at the distance where the kernel has
    fallen to rounding.
    """
    n, d = data.shape
    return jnp.mean(_others(data, bandwidth)) - math.log(n - 1) - _norm(bandwidth, d)


def conditional_leave_one_out(
    x: Float[Array, "n d"], y: Float[Array, "n m"], h_x: Array, h_y: Array
) -> Scalar:
    """Return the mean over i of log sum_{j != i} w_ij N(x_i; x_j, h_x^2) / sum_{j != i} w_ij.

    w_ij = exp(-1/2 |(y_i - y_j) / h_y|^2). Members without neighbours as in `leave_one_out`.
    """
    d, m = x.shape[1], y.shape[1]
    widths = (jnp.broadcast_to(like(x, h_x), (d,)), jnp.broadcast_to(like(x, h_y), (m,)))
    pairs = jnp.concatenate([x, y], axis=1)
    joint = _others(pairs, jnp.concatenate(widths))
    return jnp.mean(joint - _others(y, h_y)) - _norm(h_x, d)


def _others(data: Float[Array, "n d"], bandwidth: Array) -> Float[Array, " n"]:
    """Return log sum_{j != i} exp(-1/2 |(x_i - x_j) / h|^2)."""
    _, log_sum = pairwise.softmax_shift(
        data, data, jnp.zeros(data.shape[0], data.dtype), like(data, bandwidth)
    )
    # the member itself contributes exp(0)
    return jnp.log(jnp.maximum(jnp.expm1(log_sum), jnp.finfo(data.dtype).eps))


def _norm(bandwidth: Array, d: int) -> Scalar:
    widths = jnp.sum(jnp.log(jnp.broadcast_to(bandwidth, (d,))))
    return 0.5 * d * math.log(2 * math.pi) + widths


def _scaled(data: Float[Array, "n d"], dimensions: int) -> tuple[Array, Array]:
    """Return the data in units of Silverman's bandwidths, constant, and these."""
    shape = silverman(data.shape[0], dimensions) * deviations(data)
    centred = data - jnp.mean(data, axis=0, keepdims=True)
    return lax.stop_gradient(centred / shape[None]), lax.stop_gradient(shape)


def _bounds(rule: Any, data: Array) -> tuple[Scalar, Scalar]:
    return jnp.log(like(data, rule.smallest)), jnp.log(like(data, rule.largest))


def _check(rule: Any) -> None:
    positive("smallest", rule.smallest)
    positive("largest", rule.largest)
    count("evaluations", rule.evaluations, 3)


def _golden(score: Callable, low: Scalar, high: Scalar, evaluations: int) -> Scalar:
    """Return the best point of a golden-section search for the largest score."""
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

    state = lax.fori_loop(0, evaluations - 2, shrink, state)
    _, _, left, right, at_left, at_right = state
    return jnp.where(at_left > at_right, left, right)
