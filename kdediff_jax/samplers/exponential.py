r"""A multistep exponential integrator for the reverse flow, one core evaluation per step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import jax.numpy as jnp

from .._typing import Array, Bool, Float, Scalar


class DrivenTerm(diffrax.AbstractTerm):
    """dx = f(t, x) du(t) for a smooth path u, a number or a row of one per coordinate.

    Args:
        field: f, (t, x [n d], args) -> [n d].
        increment: (t0, t1) -> u(t1) - u(t0).
    """

    field: Callable[[Any, Array, Any], Array]
    increment: Callable[[Any, Any], Array]

    def vf(self, t: Any, y: Array, args: Any) -> Array:
        """Return f."""
        return self.field(t, y, args)

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> Array:
        """Return the increment of u."""
        return self.increment(t0, t1)

    def prod(self, vf: Array, control: Array) -> Array:
        """Return f du."""
        return vf * control


class _History(NamedTuple):
    """n at the start of a step and one step back, that step's E, and whether there was one."""

    now: Float[Array, "n d"]
    before: Float[Array, "n d"]
    last: Array
    known: Bool[Array, ""]


class ExponentialMultistep(diffrax.AbstractAdaptiveSolver):
    r"""Exponential Adams predictor-corrector of variable step for dx = (x + n(t, x)) du.

    The reverse flow is such an equation, with u = log tau and n = -m(x, tau). Its linear part is
    solved exactly, so that only the denoiser's change limits a step. Over one of length E in u,

        x(u + E) = e^E x(u) + int_0^E e^(E - r) n(r) dr,

    with n replaced by the line through its last two values (predictor), then by the parabola
    through these and the value at the predicted point (corrector). That value also serves the next
    step: one evaluation of n per step, accepted or rejected. The difference of the two is the error
    estimate; the corrected point is kept. The first step knows one value, hence one order less.

    Source: DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095) for the predictor, UniPC (Zhao et al.
    2023, arXiv 2302.04867) for the corrector without a further evaluation, both there with the
    steps given; Hairer, Norsett and Wanner 1993, III.5, for Adams methods of variable step.

    The term is a `DrivenTerm` of f = x + n, or any whose field has x as its linear part;
    `ProbabilityFlow` makes it when given this solver. It wants the first step `dt0`.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.LocalLinearInterpolation]] = (
        diffrax.LocalLinearInterpolation
    )

    def order(self, terms: Any) -> int:
        """Return the order of the corrected solution."""
        return 3

    def error_order(self, terms: Any) -> int:
        """Return the order of the predictor's local error, which the estimate is."""
        return 3

    def init(self, terms: Any, t0: Scalar, t1: Scalar, y0: Array, args: Any) -> _History:
        """Evaluate n at the start."""
        now = terms.vf(t0, y0, args) - y0
        return _History(now, now, jnp.ones_like(terms.contr(t0, t1)), jnp.asarray(False))

    def step(
        self,
        terms: Any,
        t0: Scalar,
        t1: Scalar,
        y0: Array,
        args: Any,
        solver_state: _History,
        made_jump: Any,
    ) -> tuple[Array, Array, dict, _History, diffrax.RESULTS]:
        """Predict, evaluate, correct."""
        del made_jump
        now, before, last, known = solver_state
        length = terms.contr(t0, t1)
        first, second, third = moments(length)
        slope = jnp.where(known, (now - before) / last, 0)
        predicted = y0 + first * (y0 + now) + second * slope
        # the only evaluation of a step; it is not repeated at the corrected point (PEC)
        after = terms.vf(t1, predicted, args) - predicted
        # Newton's form: n + slope r + curve r (r + last) takes the value `after` at r = length
        ahead = (after - now) / length
        gain = jnp.where(known, (third + last * second) / (length + last), second)
        error = gain * (ahead - slope)
        corrected = predicted + error
        history = _History(after, now, length, jnp.asarray(True))
        dense = {"y0": y0, "y1": corrected}
        return corrected, error, dense, history, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Scalar, y0: Array, args: Any) -> Any:
        """Return the vector field."""
        return terms.vf(t0, y0, args)


def moments(length: Array) -> tuple[Array, Array, Array]:
    """Return int_0^E e^(E - r) r^k dr for k = 0, 1, 2.

    The recursion I_k = k I_(k-1) - E^k loses digits where |E| is small: there by series.
    """
    small = jnp.abs(length) < 0.3
    near, far = jnp.where(small, length, 0), jnp.where(small, 1, length)
    by_recursion = jnp.expm1(far) - far
    first = jnp.expm1(length)
    second = jnp.where(small, near**2 * _series(near, 2), by_recursion)
    third = jnp.where(small, 2 * near**3 * _series(near, 3), 2 * by_recursion - far**2)
    return first, second, third


def _series(x: Array, k: int) -> Array:
    """Return phi_k(x) = sum_j x^j / (j + k)! for |x| < 0.3, to float64 rounding; k is 2 or 3."""
    total = jnp.ones_like(x)
    for j in range(10, 0, -1):
        total = 1 + total * x / (j + k)
    return total / (2 if k == 2 else 6)
