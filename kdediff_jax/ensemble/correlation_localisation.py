r"""Localisation without distances: a sample correlation counts as far as it is more than chance.

Parameters, networks, and measurements of a whole have no place. What a taper is for, the sampling
error of few members, can be read off the ensemble itself (sampling error corrections: Anderson
2012, Mon. Wea. Rev. 140, 2359; Lee 2021; Vishny, Morzfeld, Gwirtz, Bach, Dunbar and Hodyss 2024).
With r the correlation of coordinate j and the prediction of component k among N members,

    t^2 = (N - 2) r^2 / (1 - r^2),      rho_jk = max(0, 1 - c / t^2).

Without a relation t^2 has a mean of about 1, so that c = 1 takes away what chance explains of r^2:
the positive part of a James and Stein shrinkage. As a taper, rho multiplies the component's
precision for the coordinate; of a relation that is certain (r^2 = 1) all is kept.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from .._checks import positive
from .._printing import printed
from .._typing import Array, Float, Number, Scalar, like, tunable
from ..numerics import dot
from .abstract_localisation import AbstractLocalisation
from .chance import unit
from .neighbours import SAMPLED, Neighbourhoods, Neighbours


class CorrelationLocalisation(AbstractLocalisation):
    """A taper from sample correlations, for states and measurements without positions.

    It costs a table [d m] in every cycle; where there are distances, `Localisation` is cheaper.

    Args:
        shrinkage: c, how many times what chance explains of a squared correlation is taken away; 0
            for no localisation.

    Raises:
        ValueError: a negative number, or (when called) fewer than three members.
    """

    shrinkage: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the number."""
        positive("shrinkage", self.shrinkage, zero=True)

    def __repr__(self) -> str:
        return printed(self)

    def around(
        self, anomalies: Float[Array, "n d"], deviations: Float[Array, "n m"], t: Scalar | None
    ) -> Neighbourhoods:
        """Return all measurements for every coordinate, with weights by their correlations."""
        return Neighbourhoods((Neighbours(self.weights(anomalies, deviations)),))

    def without_chance(self, near: Neighbourhoods, *sample: Array | Scalar) -> Neighbourhoods:
        """Return the same: its weights are without chance."""
        return near

    def size_around(self, anomalies: Float[Array, "n d"]) -> Scalar:
        """Return how many coordinates are related to one in the mean, counted by their weights.

        Of many coordinates some are asked.
        """
        sample = np.unique(np.linspace(0, anomalies.shape[1] - 1, SAMPLED).astype(int))
        return jnp.mean(jnp.sum(self.weights(anomalies[:, sample], anomalies), axis=1))

    def weights(
        self, rows: Float[Array, "n d"], columns: Float[Array, "n m"]
    ) -> Float[Array, "d m"]:
        """Return rho of every pair of columns of two sets of anomalies.

        Raises:
            ValueError: fewer than three members.
        """
        n = rows.shape[0]
        if n < 3:
            raise ValueError(
                f"localisation: expected at least 3 members for correlations, got {n} (try: a "
                "Localisation, by positions)"
            )
        r = jnp.clip(dot(unit(rows).T, unit(columns)), -1, 1)
        chance = like(r, self.shrinkage) * (1 - r**2) / (n - 2)
        more = r**2 > chance
        return jnp.where(more, 1 - chance / jnp.where(more, r**2, 1), 0)
