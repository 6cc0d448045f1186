"""Fixed-step integrators for the model's own equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from .._checks import choice
from .._typing import Array, Scalar, like
from ..numerics import normal

METHODS = ("euler", "rk4")


def integrate(
    tendency: Callable[[Array], Array], x: Array, interval: Scalar, substeps: int, method: str
) -> Array:
    """Integrate dx/dt = tendency(x) over `interval` in equal substeps.

    Args:
        tendency: right-hand side (autonomous).
        x: state.
        interval: model time to cover.
        substeps: number of equal steps.
        method: "euler" (first order) or "rk4" (classical fourth order).

    Raises:
        ValueError: an unknown method.
    """
    choice("method", method, METHODS)
    h = like(x, interval) / substeps

    def euler(x):
        return x + h * tendency(x)

    def rk4(x):
        k1 = tendency(x)
        k2 = tendency(x + h / 2 * k1)
        k3 = tendency(x + h / 2 * k2)
        k4 = tendency(x + h * k3)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    step = euler if method == "euler" else rk4
    # scan, not fori_loop: reverse-mode differentiable
    return lax.scan(lambda x, _: (step(x), None), x, length=substeps)[0]


def noise_over(std: Any, interval: Scalar | None, own: Any) -> Any:
    """Return the noise of a step over `interval`, std sqrt(interval / own); of None, std.

    The variances of the parts of an interval add up to that of the whole.
    """
    if interval is None:
        return std
    return like(interval, std) * jnp.sqrt(interval / like(interval, own))


def add_noise(key: Array, x: Array, std: Array) -> Array:
    """Return x + std z: model noise, once per assimilation interval."""
    return x + like(x, std) * normal(key, jnp.shape(x), x.dtype)
