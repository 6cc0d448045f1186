"""What a localisation is to a filter, whatever it goes by: distances or correlations."""

from __future__ import annotations

import abc

import equinox as eqx

from .._typing import Array, Float, Scalar
from .chance import without_chance
from .neighbours import Neighbourhoods


class AbstractLocalisation(eqx.Module):
    """What a localised filter asks: which measurements count how much for which coordinate."""

    @abc.abstractmethod
    def around(
        self, anomalies: Float[Array, "n d"], deviations: Float[Array, "n m"], t: Scalar | None
    ) -> Neighbourhoods:
        """Return the measurements near every point of analysis, and their weights.

        Args:
            anomalies: of the members.
            deviations: of their predictions, 0 in missing components.
            t: model time of the measurement; None where it is not known.
        """

    def without_chance(
        self,
        near: Neighbourhoods,
        anomalies: Float[Array, "n d"],
        deviations: Float[Array, "n m"],
        signal: Float[Array, " m"],
        shrinkage: Scalar,
    ) -> Neighbourhoods:
        """Return what is `around`, with weights that chance has no part in.

        The arguments are those of `kdediff_jax.ensemble.chance.without_chance`.
        """
        return without_chance(near, anomalies, deviations, signal, shrinkage)

    @abc.abstractmethod
    def size_around(self, anomalies: Float[Array, "n d"]) -> Scalar:
        """Return how many coordinates are near one in the mean, each counted by its weight."""

    def listed(self) -> AbstractLocalisation:
        """Return the same with what can be found once, when a filter is made."""
        return self


def checked_localisation(value: AbstractLocalisation) -> AbstractLocalisation:
    """Return the localisation with its lists of neighbours; TypeError for anything else."""
    if not isinstance(value, AbstractLocalisation):
        raise TypeError(f"localisation: expected a Localisation, got {value!r}")
    return value.listed()
