r"""Transforms between the unbounded coordinates that a filter moves and a model's bounded values.

A Kalman gain adds to a coordinate what it likes: a concentration becomes negative, a fraction 1.2.
In unbounded coordinates u it cannot, and the model sees v = forward(u) alone:

    Positive    v = s exp(u)                        rates, concentrations: errors are relative
    Softplus    v = s log(1 + exp(u / s))           the same near 0, but u is v where v is large
    Interval    v = a + (b - a) / (1 + exp(-u))     between a and b; `Interval()` is a fraction
    Angle       v = u modulo the period             u is unwrapped: turns are counted on
    Unbounded   v = u

`inverse(forward(u))` is u and `forward(inverse(v))` is v, to the rounding of the two numbers. Both
are finite for every finite argument: a value on its bound, or beyond it by rounding, counts as the
nearest one inside. Each acts element by element on arrays of any shape.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._checks import concrete, count, positive
from ._typing import Array, Float, Number, like, tunable
from ._words import counted


class AbstractTransform(eqx.Module):
    """A bijection from unbounded coordinates to bounded values."""

    @abc.abstractmethod
    def forward(self, coordinate: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Return the values of coordinates, within their bounds."""

    @abc.abstractmethod
    def inverse(
        self, value: Float[Array, "*s"], near: Float[Array, "*s"] | None = None
    ) -> Float[Array, "*s"]:
        """Return the coordinates of values, always finite where the values are.

        Args:
            value: within the bounds, or the nearest value within them is taken.
            near: coordinates that choose where a value has several: an angle's turn.
        """


class Unbounded(AbstractTransform):
    """The identity, v = u."""

    def forward(self, coordinate: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Return the coordinates as they are."""
        return coordinate

    def inverse(
        self, value: Float[Array, "*s"], near: Float[Array, "*s"] | None = None
    ) -> Float[Array, "*s"]:
        """Return the values as they are."""
        return value


class AbstractScaled(AbstractTransform):
    """Positive values in units of a scale, with a floor."""

    scale: Number = tunable(1.0)
    floor: Number = tunable(0.0)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("scale", self.scale)
        positive("floor", self.floor, zero=True)


class Positive(AbstractScaled):
    """Positive values, v = scale exp(u): a step in u is a relative change of v.

    Args:
        scale: the value at u = 0, a number or one per coordinate.
        floor: values below it count as it; 0 for the smallest number of the dtype. A concentration
            that a model sets to 0 is infinitely far away in u: give the smallest one that matters.

    Raises:
        ValueError: a scale that is not positive, a negative floor.
    """

    def forward(self, coordinate: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Return scale exp(u)."""
        lowest, highest = _normal(coordinate)
        # the logarithm of v: its parts may be out of range where v is not
        log_value = coordinate + jnp.log(like(coordinate, self.scale))
        # a rounding below the largest: its exponential must not be infinite
        most = jnp.log(highest) * (1 - 2 * jnp.finfo(highest.dtype).eps)
        return jnp.maximum(jnp.exp(jnp.clip(log_value, jnp.log(lowest), most)), lowest)

    def inverse(
        self, value: Float[Array, "*s"], near: Float[Array, "*s"] | None = None
    ) -> Float[Array, "*s"]:
        """Return log(v / scale)."""
        return jnp.log(_at_least(value, self.floor)) - jnp.log(like(value, self.scale))


class Softplus(AbstractScaled):
    """Positive values, v = scale log(1 + exp(u / scale)): u is v where v is much above the scale.

    Args:
        scale: below about it the bound is felt, in the units of v; a number or one per coordinate.
        floor: as of `Positive`.

    Raises:
        ValueError: a scale that is not positive, a negative floor.
    """

    def forward(self, coordinate: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Return scale log(1 + exp(u / scale))."""
        lowest, highest = _normal(coordinate)
        scale = like(coordinate, self.scale)
        return jnp.clip(scale * jax.nn.softplus(coordinate / scale), lowest, highest)

    def inverse(
        self, value: Float[Array, "*s"], near: Float[Array, "*s"] | None = None
    ) -> Float[Array, "*s"]:
        """Return v + scale log(1 - exp(-v / scale))."""
        scale = like(value, self.scale)
        value = _at_least(value, self.floor)
        part = jnp.maximum(value / scale, jnp.finfo(value.dtype).tiny)
        return value + scale * jnp.log(-jnp.expm1(-part))


class Interval(AbstractTransform):
    """Values between two bounds, the logit: v = lower + (upper - lower) / (1 + exp(-u)).

    `Interval()` is a fraction. Values are told apart to a rounding of the bounds, not relative to
    their distance from one.

    Args:
        lower, upper: bounds, a number or one per coordinate.
        margin: a value nearer to a bound than this part of the width counts as that near; at least
            a rounding.

    Raises:
        ValueError: bounds out of order, or a margin that is negative or leaves nothing.
    """

    lower: Number = tunable(0.0)
    upper: Number = tunable(1.0)
    margin: Number = tunable(0.0)

    def __check_init__(self) -> None:
        """Check the bounds."""
        lower, upper, margin = (concrete(v) for v in (self.lower, self.upper, self.margin))
        if lower is not None and upper is not None:
            good = (lower < upper) & np.isfinite(lower) & np.isfinite(upper)
            if not good.all():
                raise ValueError(
                    f"lower, upper: expected finite bounds in order, got {lower.tolist()} and "
                    f"{upper.tolist()}"
                )
        if margin is not None and not ((margin >= 0) & (margin < 0.5)).all():
            raise ValueError(f"margin: expected a part from 0 to below 0.5, got {margin.tolist()}")

    def forward(self, coordinate: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Return the value; from the nearer bound, so that both ends are as precise."""
        lower, upper = like(coordinate, self.lower), like(coordinate, self.upper)
        share = (upper - lower) * jax.nn.sigmoid(-jnp.abs(coordinate))
        return jnp.where(coordinate < 0, lower + share, upper - share)

    def inverse(
        self, value: Float[Array, "*s"], near: Float[Array, "*s"] | None = None
    ) -> Float[Array, "*s"]:
        """Return log((v - lower) / (upper - v))."""
        lower, upper = like(value, self.lower), like(value, self.upper)
        width = upper - lower
        # a value is known to a rounding of the bounds: nearer to one means nothing
        larger = jnp.maximum(jnp.maximum(jnp.abs(lower), jnp.abs(upper)), width)
        rounding = jnp.finfo(value.dtype).eps * larger / width
        least = jnp.maximum(like(value, self.margin), jnp.minimum(rounding, 0.25))
        above, below = (
            jnp.clip(v / width, least, 1 - least) for v in (value - lower, upper - value)
        )
        return jnp.log(above) - jnp.log(below)


class Angle(AbstractTransform):
    """Angles on a circle: v is u modulo the period, and u goes on counting.

    Two coordinates compare as they are as long as they are on the same turn: `inverse(value, near)`
    takes the one nearest to `near`. Values compare by `difference`. So an ensemble has to lie
    within half a turn, and a model step has to move an angle by less than that. Measure an angle as
    its cosine and sine, which know no turns: filters take the difference of y and h(x) as it is.

    Args:
        period: of a whole turn: 2 pi, or 360.
        lower: the smallest value: 0, or -period / 2.

    Raises:
        ValueError: a period that is not positive.
    """

    period: Number = tunable(2 * math.pi)
    lower: Number = tunable(0.0)

    def __check_init__(self) -> None:
        """Check the period."""
        positive("period", self.period)

    def forward(self, coordinate: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Return the angle in [lower, lower + period)."""
        period, lower = like(coordinate, self.period), like(coordinate, self.lower)
        turned = jnp.mod(coordinate - lower, period)
        # the remainder of a small negative number rounds to a whole period, as may the sum
        return lower + jnp.where(lower + turned >= lower + period, 0, turned)

    def inverse(
        self, value: Float[Array, "*s"], near: Float[Array, "*s"] | None = None
    ) -> Float[Array, "*s"]:
        """Return the angle itself, or its nearest turn."""
        return value if near is None else near + self.difference(value, near)

    def difference(self, a: Float[Array, "*s"], b: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Return a - b on the circle, at most half a period."""
        period = like(a, self.period)
        gap = a - b
        return gap - period * jnp.round(gap / period)


class Blocks(AbstractTransform):
    """Transforms of consecutive coordinates along the last axis.

    Args:
        parts: pairs of a transform and the number of coordinates it is for, in order:
            `Blocks((Positive(), 2), (Angle(), 1))`.

    Raises:
        TypeError: something other than such pairs.
        ValueError: no pair, or (when called) another number of coordinates.
    """

    transforms: tuple[AbstractTransform, ...]
    sizes: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, *parts: tuple[AbstractTransform, int]) -> None:
        if not parts:
            raise ValueError("parts: expected pairs of a transform and a size, got none")
        for part in parts:
            if not isinstance(part, tuple) or len(part) != 2:
                raise TypeError(f"parts: expected pairs of a transform and a size, got {part!r}")
            checked_transform("parts", part[0])
            count("parts", part[1])
        self.transforms = tuple(transform for transform, _ in parts)
        self.sizes = tuple(int(size) for _, size in parts)

    def forward(self, coordinate: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Return each block's values."""
        blocks = zip(self.transforms, self._cut(coordinate), strict=True)
        return jnp.concatenate([t.forward(u) for t, u in blocks], axis=-1)

    def inverse(
        self, value: Float[Array, "*s"], near: Float[Array, "*s"] | None = None
    ) -> Float[Array, "*s"]:
        """Return each block's coordinates."""
        nears = [None] * len(self.sizes) if near is None else self._cut(near)
        blocks = zip(self.transforms, self._cut(value), nears, strict=True)
        return jnp.concatenate([t.inverse(v, n) for t, v, n in blocks], axis=-1)

    def _cut(self, x: Array) -> list[Array]:
        total = sum(self.sizes)
        if x.ndim == 0 or x.shape[-1] != total:
            raise ValueError(
                f"blocks: expected {counted(total, 'coordinate')}, got shape {x.shape}"
            )
        ends = [sum(self.sizes[: k + 1]) for k in range(len(self.sizes))]
        return [x[..., end - size : end] for end, size in zip(ends, self.sizes, strict=True)]


def checked_transform(name: str, value: Any) -> AbstractTransform:
    """Return a transform; TypeError naming the argument for anything else."""
    if not isinstance(value, AbstractTransform):
        raise TypeError(f"{name}: expected a transform such as `Positive()`, got {value!r}")
    return value


def _normal(x: Array) -> tuple[Array, Array]:
    """Return the smallest and the largest positive number of the dtype."""
    limits = jnp.finfo(x.dtype)
    return like(x, limits.tiny), like(x, limits.max)


def _at_least(value: Array, floor: Any) -> Array:
    lowest, highest = _normal(value)
    return jnp.clip(value, jnp.maximum(like(value, floor), lowest), highest)
