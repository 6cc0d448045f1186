"""Bisection of monotone conditions, inside compiled code."""

from __future__ import annotations

from collections.abc import Callable

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
