"""Bisection of monotone conditions, and Newton's method in a bracket, inside compiled code."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float, Scalar


def bisect(
    below: Callable[[Array], Array],
    low: Float[Array, "*s"],
    high: Float[Array, "*s"],
    halvings: int,
) -> tuple[Float[Array, "*s"], Float[Array, "*s"]]:
    """Return a bracket around the points where a condition turns from true to false.

    Args:
        below: whether a point lies below the turn, element by element.
        low: where the condition holds (it is not asked there).
        high: where it does not.
        halvings: of the bracket; its width ends as 2^-halvings of the first.
    """

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        up = below(middle)
        return jnp.where(up, middle, low), jnp.where(up, high, middle)

    return lax.fori_loop(0, halvings, halve, (low, high))


def bisect_root(
    residual: Callable[[Array], Array],
    low: Float[Array, "*s"],
    high: Float[Array, "*s"],
    halvings: int,
) -> Float[Array, "*s"]:
    """Return where a falling function is zero: one Newton step from the end of a bisection.

    The step makes the answer smooth in what the function depends on, and gives it the derivative
    of the implicit function, -(dr/dtheta) / (dr/du). At the bounds there is none.

    Args:
        residual: r, of points element by element; it may close over what is differentiated.
        low: where it is positive (or the answer, where it is not).
        high: where it is negative (or the answer, where it is not).
        halvings: of the bracket.
    """
    found = lax.stop_gradient(bisect(lambda u: residual(u) > 0, low, high, halvings)[1])
    value, slope = jax.jvp(residual, (found,), (jnp.ones_like(found),))
    inside = (residual(low) > 0) & (residual(high) < 0)
    step = value / lax.stop_gradient(jnp.where(inside, -slope, 1))
    return found + jnp.where(inside, step, 0)


def newton_root(
    residual: Callable[[Array], Array],
    start: Float[Array, "*s"],
    low: Float[Array, "*s"],
    high: Float[Array, "*s"],
    scale: Scalar,
    most: int = 100,
) -> Float[Array, "*s"]:
    """Return where a falling function is zero; it has no derivative.

    A step of Newton's that leaves the bracket, or is more than half of the one before the last, is
    replaced by a bisection (Brent 1973, Section 4). Newton's error is squared by every step: one
    below sqrt(eps) of the scale is the last. Rounds go on until every element is found.

    Args:
        residual: of points element by element.
        start: where to begin, in the bracket.
        low: where it is positive.
        high: where it is negative.
        scale: on which its slope changes.
        most: rounds.
    """
    low, high, start, scale = lax.stop_gradient((low, high, start, scale))
    eps = jnp.finfo(start.dtype).eps
    last_step, last_half = eps**0.5 * scale, 2 * eps * (high - low)

    def nearer(state: tuple) -> tuple:
        count, x, low, high, moved, before, found = state
        value, slope = jax.jvp(residual, (x,), (jnp.ones_like(x),))
        low, high = jnp.where(value > 0, x, low), jnp.where(value > 0, high, x)
        there = x - value / jnp.minimum(slope, -jnp.finfo(x.dtype).tiny)
        inside = (there >= low) & (there <= high) & (2 * jnp.abs(there - x) <= before)
        there = jnp.where(inside, there, 0.5 * (low + high))
        step = jnp.abs(there - x)
        # what is found stays: steps of mere rounding would soon be replaced by a bisection
        there = jnp.where(found, x, there)
        found = found | (step <= jnp.where(inside, last_step, last_half))
        return count + 1, there, low, high, step, moved, found

    def unfinished(state: tuple) -> Array:
        return (state[0] < most) & ~jnp.all(state[-1])

    width = high - low
    nowhere = jnp.zeros_like(start, bool)
    state = (jnp.zeros((), jnp.int32), start, low, high, width, 2 * width, nowhere)
    return lax.while_loop(unfinished, nearer, state)[1]
