"""The dynamics protocol."""

import abc

import equinox as eqx

from .._printing import printed
from .._typing import Array, Float, Key, Scalar


class AbstractDynamics(eqx.Module):
    """A simulator of one member over one assimilation interval.

    A subclass declares `interval`, the model time that one call covers, and implements `step`.

    For measurements at irregular times `step` takes a fourth argument,
    `step(self, key, x, t, interval=None)`: the model time to cover instead, a traced number of at
    most `self.interval` (a longer one is divided into equal steps). A model without it is stepped
    over whole multiples of its own interval. A wrapper of another model, its field `wrapped`,
    passes on what it is given: `step(self, key, x, t, **interval)`.
    """

    interval: eqx.AbstractVar[Scalar]

    def __repr__(self) -> str:
        return printed(self)

    @abc.abstractmethod
    def step(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " d"]:
        """Draw the state one interval later.

        Args:
            key: random key (deterministic models ignore it).
            x: state of one member.
            t: model time at the interval's start, since the run's `origin` (0 by default).
        """
