"""The taper of distances, on a line, a ring or in a box with some periodic axes."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import jax.numpy as jnp

from .._typing import Array, Float, as_leaf
from ..numerics import safe_sqrt

T = TypeVar("T")


def gaspari_cohn(distance: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Return the fifth-order taper of Gaspari and Cohn 1999 (Eq. 4.10), 0 from distance 2 on."""
    r = jnp.abs(distance)
    inner = 1 - 5 / 3 * r**2 + 5 / 8 * r**3 + 0.5 * r**4 - 0.25 * r**5
    safe = jnp.maximum(r, 0.5)
    outer = 4 - 5 * r + 5 / 3 * r**2 + 5 / 8 * r**3 - 0.5 * r**4 + r**5 / 12 - 2 / (3 * safe)
    return jnp.where(r < 1, inner, jnp.where(r < 2, jnp.maximum(outer, 0), 0))


def half_width(radius: T) -> T:
    """Return c of Gaspari and Cohn, whose taper is 0 from 2 c on."""
    return radius * (10 / 3) ** 0.5


def as_period(period: Any) -> Any:
    """Return lengths, infinite along an axis that is not periodic."""
    if isinstance(period, (list, tuple)):
        return as_leaf([math.inf if length is None else length for length in period])
    return as_leaf(period)


def taper(gap: Float[Array, "*s a"], radius: Any, period: Any) -> Float[Array, "*s"]:
    """Return the weights of differences of positions, along the last axis.

    Args:
        gap: the differences.
        radius: of the width of exp(-r^2 / (2 radius^2)).
        period: of every axis, infinite where it has none, or None.

    Raises:
        ValueError: more than one radius.
    """
    if jnp.ndim(radius) > 0:
        raise ValueError(
            f"radius: expected one number, got shape {jnp.shape(radius)} (try: positions in units "
            "of the radius of their axis)"
        )
    gap, dtype = jnp.abs(gap), gap.dtype
    if period is not None:
        length = jnp.broadcast_to(jnp.asarray(period, dtype), gap.shape)
        ring = jnp.where(jnp.isinf(length), 1, length)
        around = jnp.minimum(gap % ring, (-gap) % ring)
        gap = jnp.where(jnp.isinf(length), gap, around)
    scaled = safe_sqrt(jnp.sum(gap**2, axis=-1)) / half_width(jnp.asarray(radius, dtype))
    return gaspari_cohn(scaled)
