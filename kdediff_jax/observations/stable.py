r"""Alpha-stable noise: heavy tails of infinite variance, easy to draw, without a density.

A density exists, but only three of these laws have it as a formula. Sums of many independent shocks
of infinite variance tend to a stable law as those of finite variance tend to a Gaussian one. It is
known by its characteristic function,

    E exp(i u e) = exp(-|u|^alpha (1 - i beta sign(u) tan(pi alpha / 2))),      alpha != 1,
    E exp(i u e) = exp(-|u| (1 + i beta (2 / pi) sign(u) log |u|)),             alpha = 1,

and drawn by two random numbers and a formula (Chambers, Mallows and Stuck 1976, J. Amer. Statist.
Assoc. 71, 340; corrected by Weron 1996, Statist. Probab. Lett. 28, 165).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from .._checks import concrete, measured, per_coordinate, positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from ..numerics import row_major
from .base import AbstractObservation


class StableObservation(AbstractObservation):
    """Alpha-stable noise, y = operator(x) + scale e with independent components e.

    It states no density, and no covariance (there is none for alpha < 2): `EnKPF`, `KDEDiffusion`
    and the `EnKF` simulate, `SIR` cannot be used. For alpha > 1 the mean of e is 0. For alpha = 2
    e is Gaussian of variance 2: give the scale std / sqrt(2).

    Args:
        operator: x [d] -> h(x) [m]; an `eqx.Module` or a module-level function.
        scale: of the noise, in the units of y: a number, one per component, or a function of the
            state, x [d] -> [] or [m], for noise that depends on it (a volatility).
        alpha: index of the tail in (0, 2], P(|e| > z) ~ z^-alpha below 2.
        beta: skewness in [-1, 1]; where positive, the upper tail is the heavier one. Without effect
            at alpha = 2.

    Raises:
        ValueError: a number out of its range.
        TypeError: an operator that is no function.
    """

    operator: Callable[[Array], Array]
    scale: Number = tunable(1.0)
    alpha: Number = tunable(1.8)
    beta: Number = tunable(0.0)

    def __check_init__(self) -> None:
        """Check the operator and the numbers that are known."""
        if not callable(self.operator) or isinstance(self.operator, type):
            raise TypeError(f"operator: expected a callable x -> h(x), got {self.operator!r}")
        if not callable(self.scale):
            positive("scale", self.scale)
        _check_law(self.alpha, self.beta)

    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Draw operator(x) + scale e."""
        value = row_major(measured("operator", "h(x)", self.operator(x)))
        scale = like(value, self.scale(x) if callable(self.scale) else self.scale)
        per_coordinate("scale", scale, value.shape[0])
        noise = stable_noise(key, self.alpha, self.beta, value.shape, value.dtype)
        return value + scale * noise


def stable_noise(
    key: Key,
    alpha: Number,
    beta: Number = 0.0,
    shape: tuple[int, ...] = (),
    dtype: jnp.dtype | None = None,
) -> Array:
    """Draw alpha-stable noise of unit scale, see the module (the parametrisation is Nolan's S1).

    With alpha below about 0.3 a draw can exceed the range of float32, and is infinite.

    Args:
        key: random key.
        alpha: index of the tail, in (0, 2].
        beta: skewness, in [-1, 1].
        shape: of the result; alpha and beta broadcast against it.
        dtype: of the result, the default floating one if None.

    Returns:
        Independent draws [shape].

    Raises:
        ValueError: alpha or beta out of its range.
    """
    _check_law(alpha, beta)
    angle_key, exponential_key = jax.random.split(key)
    dtype = jnp.zeros((), dtype).dtype
    # the open interval: at -pi/2 the cosine is 0
    uniform = jax.random.uniform(angle_key, shape, dtype, jnp.finfo(dtype).eps, 1.0)
    angle = jnp.pi * (uniform - 0.5)
    exponential = jax.random.exponential(exponential_key, shape, dtype)
    exponential = jnp.maximum(exponential, jnp.finfo(dtype).tiny)
    alpha, beta = jnp.asarray(alpha, dtype), jnp.asarray(beta, dtype)
    one = alpha == 1
    usual = _of_any_alpha(jnp.where(one, 0.5, alpha), beta, angle, exponential)
    return jnp.where(one, _of_alpha_one(beta, angle, exponential), usual)


def _of_any_alpha(alpha: Array, beta: Array, angle: Array, exponential: Array) -> Array:
    """Return the draw for alpha != 1."""
    skew = beta * jnp.tan(jnp.pi * alpha / 2)
    turned = alpha * angle + jnp.arctan(skew)
    # both cosines are positive; rounding may leave them at 0
    tiny = jnp.finfo(angle.dtype).tiny
    cosine = jnp.maximum(jnp.cos(angle), tiny)
    other = jnp.maximum(jnp.cos(turned - angle), tiny)
    power = (1 - alpha) / alpha
    log_size = (
        jnp.log1p(skew**2) / (2 * alpha)
        - jnp.log(cosine) / alpha
        + power * (jnp.log(other) - jnp.log(exponential))
    )
    return jnp.sin(turned) * jnp.exp(log_size)


def _of_alpha_one(beta: Array, angle: Array, exponential: Array) -> Array:
    """Return the draw for alpha = 1."""
    half = math.pi / 2
    bent = half + beta * angle
    cosine = jnp.maximum(jnp.cos(angle), jnp.finfo(angle.dtype).tiny)
    ratio = jnp.maximum(half * exponential * cosine / bent, jnp.finfo(angle.dtype).tiny)
    return (bent * jnp.sin(angle) / cosine - beta * jnp.log(ratio)) / half


def _check_law(alpha: Number, beta: Number) -> None:
    """Check the two numbers, if they are concrete."""
    for name, value, low, high in (("alpha", alpha, 0, 2), ("beta", beta, -1, 1)):
        known = concrete(value)
        if known is None:
            continue
        above = known > low if name == "alpha" else known >= low
        if not (above & (known <= high)).all():
            interval = f"({low}, {high}]" if name == "alpha" else f"[{low}, {high}]"
            raise ValueError(f"{name}: expected a number in {interval}, got {known.tolist()}")
