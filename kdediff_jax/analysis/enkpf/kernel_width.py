"""Widths of the kernel that smooths weighted members: of the whole state or of one coordinate."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ..._checks import concrete, positive
from ..._typing import Number, Scalar, like, tunable
from ...bandwidths import silverman
from ...numerics import safe_sqrt


class AbstractKernelWidth(eqx.Module):
    """A rule for h, in units of the members' spread."""

    @abc.abstractmethod
    def __call__(self, n: int, d: int, lost: Scalar) -> Scalar:
        """Return h, given the part 1 - ESS / N of n members in d dimensions that weights cost."""


class FixedWidth(AbstractKernelWidth):
    """One width; a number given as `kernel_width` becomes this.

    Args:
        value: h, in (0, 1].

    Raises:
        ValueError: a value out of range.
    """

    value: Number = tunable()

    def __check_init__(self) -> None:
        """Check the width."""
        if jnp.ndim(self.value) != 0:
            raise ValueError(f"kernel_width: expected a number in (0, 1], got {self.value!r}")
        positive("kernel_width", self.value)
        known = concrete(self.value)
        if known is not None and known > 1:
            raise ValueError(f"kernel_width: expected at most 1, got {known}")

    def __call__(self, n: int, d: int, lost: Scalar) -> Scalar:
        """Return h."""
        return like(lost, self.value)


class SilvermanWidth(AbstractKernelWidth):
    """h = factor Silverman sqrt(1 - ESS / N): the kernel replaces the diversity that weights cost.

    Args:
        factor: of Silverman's width for Gaussian data.
        minimum_loss: of members, 1 - ESS / N, that the kernel makes up for: without it few members
            become too alike.

    Raises:
        ValueError: a factor that is not positive, a negative loss.
    """

    factor: Number = tunable(0.5)
    minimum_loss: Number = tunable(0.15)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("factor", self.factor)
        positive("minimum_loss", self.minimum_loss, zero=True)

    def __call__(self, n: int, d: int, lost: Scalar) -> Scalar:
        """Return h."""
        widest = jnp.minimum(like(lost, self.factor) * silverman(n, d), 1)
        return widest * safe_sqrt(jnp.maximum(lost, like(lost, self.minimum_loss)))


def as_kernel_width(value: Any) -> AbstractKernelWidth:
    """Return None as `SilvermanWidth`, a number as `FixedWidth`, a rule as it is."""
    if value is None:
        return SilvermanWidth()
    return value if isinstance(value, AbstractKernelWidth) else FixedWidth(value)
