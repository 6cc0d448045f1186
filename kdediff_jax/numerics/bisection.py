"""Bisection of monotone conditions, inside compiled code."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float


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
