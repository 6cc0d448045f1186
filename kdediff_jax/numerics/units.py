"""Units of computation: powers of two near the size of what is computed with.

To divide by a power of two loses no digit, so a stage that works in such units answers as it would
have, and no floor of rounding in it can take one coordinate for the rounding of another.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float


def binary_unit(size: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Return the power of two at or below each size; 1 where it is not positive and finite."""
    size = lax.stop_gradient(size)
    usable = (size > 0) & jnp.isfinite(size)
    _, exponent = jnp.frexp(jnp.where(usable, size, 1))
    return jnp.ldexp(jnp.ones_like(size), exponent - 1)


def unit_of_spread(x: Float[Array, "n d"]) -> Float[Array, " d"]:
    """Return the unit of half of every column's range; of its rounding where it is constant."""
    rounding = jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), axis=0)
    return binary_unit(jnp.maximum(half_range(x), rounding))


def half_range(x: Float[Array, "n d"]) -> Float[Array, " d"]:
    """Return half of every column's range, which is a number where the range is not."""
    return 0.5 * jnp.max(x, axis=0) - 0.5 * jnp.min(x, axis=0)
