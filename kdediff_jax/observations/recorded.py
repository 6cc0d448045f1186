"""Measurements and predictions that were simulated beforehand, for schemes that are compiled."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from .._typing import Array, Float, Key, Scalar
from .._words import counted
from .base import AbstractObservation, measure
from .rows import MemberRows, moved, over_members


class RecordedOperator(eqx.Module):
    """An operator h whose values at the members are known, see `kdediff_jax.observations.rows`.

    Attributes:
        rows: h(x_i) [n m].
        slope: H^T.
    """

    rows: MemberRows
    slope: Float[Array, "d m"]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """Return h of the member at hand, which is at x now."""
        rows = self.rows.of_member("operator")
        return moved(rows.values, x - rows.at, self.slope)


class SimulatedMeasurements(AbstractObservation):
    """Measurements of the members, noise included, that a simulator drew beforehand.

    Attributes:
        rows: r measurements of each member [n r m].
        slope: H^T, of their means.
    """

    rows: MemberRows
    slope: Float[Array, "d m"]

    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Return the first measurement of the member at hand, which is at x now."""
        return self.draws(x)[0]

    def draws(self, x: Float[Array, " d"]) -> Float[Array, "r m"]:
        """Return all measurements of the member at hand, which is at x now."""
        rows = self.rows.of_member("observation")
        step = jnp.broadcast_to(x - rows.at, (rows.values.shape[0], *x.shape))
        return jax.vmap(moved, in_axes=(0, 0, None))(rows.values, step, self.slope)


def sample_replicates(
    observation: AbstractObservation, keys: Key, ensemble: Float[Array, "n d"], t: Scalar
) -> Float[Array, "n r m"]:
    """Draw r measurements of every member.

    Args:
        observation: their simulator, or what it drew beforehand.
        keys: of every draw [n r].
        ensemble: members.
        t: model time.

    Raises:
        TypeError: `sample` returns None, a tuple or integers.
        ValueError: `sample` does not return a vector of at least one component, or fewer draws
            were made beforehand.
    """

    def draws(observation: AbstractObservation, keys: Key, x: Array) -> Array:
        if not isinstance(observation, SimulatedMeasurements):
            return jax.vmap(lambda k: measure(observation, k, x, t))(keys)
        made, asked = observation.rows.values.shape[0], keys.shape[0]
        if made < asked:
            raise ValueError(
                f"observation: expected {counted(asked, 'measurement')} per member, got {made}, "
                "simulated on the host beforehand"
            )
        return observation.draws(x)[:asked]

    return over_members(observation, draws)(keys, ensemble)
