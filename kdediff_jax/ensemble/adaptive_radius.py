r"""A localisation whose radius follows the ensemble: that of the least risk.

With r_jl the sample correlation of the coordinates j and l among N members, and rho_jl(R) the taper
of radius R between them, the tapered correlation misses the true one c_jl by

    E sum_jl (rho_jl r_jl - c_jl)^2 = E sum_jl [ rho_jl^2 r_jl^2 - 2 rho_jl r_jl c_jl ] + const.

r^2 - (1 - r^2) / (N - 2), which has a mean of 0 where there is no relation, takes the place of the
product r c. That sum over a whole field depends on the ensemble alone, and the radius of the
smallest is taken, in every cycle anew: a wide one where members are many or a field is smooth, a
narrow one where members are few. Source: Menetrier, Montmerle, Michel and Berre 2015, Mon. Wea.
Rev. 143, 1622 and 1644 (optimal linear filtering of sample covariances); an estimate of risk
without the truth is Stein's (1981).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import concrete, positive
from .._printing import printed
from .._typing import Array, Float, Number, Scalar, like, tunable
from ..numerics import dot
from .abstract_localisation import AbstractLocalisation
from .correlation_localisation import unit_columns
from .localisation import Localisation
from .neighbours import Neighbourhoods


def _localisation(value: Any) -> Localisation:
    if not isinstance(value, Localisation):
        raise TypeError(f"localisation: expected a Localisation, got {value!r}")
    return value


class AdaptiveRadius(AbstractLocalisation):
    """A localisation by distances with the radius that fits the ensemble, in every cycle.

    Of many coordinates some are asked. Lists of neighbours reach as far as the largest radius.

    Args:
        localisation: where coordinates and measurements are, and a first guess of the radius.
        factors: of that radius, among which is chosen.

    Raises:
        TypeError: a localisation of another kind.
        ValueError: no factors or some that are not positive, or (when called) fewer than three
            members.
    """

    localisation: Localisation = eqx.field(converter=_localisation)
    factors: Number = tunable(tuple(2 ** (k / 4) for k in range(-4, 7)))

    def __check_init__(self) -> None:
        """Check the factors."""
        positive("factors", self.factors)
        if jnp.ndim(self.factors) != 1 or jnp.size(self.factors) == 0:
            raise ValueError(
                f"factors: expected one or more numbers, got shape {jnp.shape(self.factors)}"
            )

    def __repr__(self) -> str:
        return printed(self)

    def listed(self) -> AdaptiveRadius:
        """Return the same with lists that serve the largest radius."""
        where = self.localisation
        largest = where.radius * jnp.max(self.factors)
        if where.max_radius is not None:
            largest = jnp.maximum(largest, where.max_radius)
        known = concrete(largest)
        wide = dataclasses.replace(where, max_radius=largest if known is None else known)
        return dataclasses.replace(self, localisation=wide.listed())

    def around(
        self, anomalies: Float[Array, "n d"], deviations: Float[Array, "n m"], t: Scalar | None
    ) -> Neighbourhoods:
        """Return the measurements near every point, with weights of the radius that fits."""
        return self._fitted(anomalies).around(anomalies, deviations, t)

    def size_around(self, anomalies: Float[Array, "n d"]) -> Scalar:
        """Return how many coordinates are within that radius of one, counted by their weights."""
        return self._fitted(anomalies).size_around(anomalies)

    def radius(self, anomalies: Float[Array, "n d"]) -> Scalar:
        """Return the radius of the least risk.

        Raises:
            ValueError: fewer than three members.
        """
        n = anomalies.shape[0]
        if n < 3:
            raise ValueError(f"localisation: expected at least 3 members for correlations, got {n}")
        columns = unit_columns(jax.lax.stop_gradient(anomalies)).T
        rows, near = self.localisation.among_sample(anomalies.dtype)
        others = near.of(columns[: jnp.shape(self.localisation.state)[0]])
        r = dot(columns[rows][:, None], jnp.swapaxes(others, -1, -2))[:, 0]
        square = jnp.minimum(r**2, 1)
        related = square - (1 - square) / (n - 2)
        radii = like(anomalies, self.localisation.radius) * like(anomalies, self.factors)

        def risk(radius: Scalar) -> Scalar:
            rho = self._of(radius).among_sample(anomalies.dtype)[1].weights
            return jnp.sum(rho**2 * square - 2 * rho * related)

        return radii[jnp.argmin(jax.lax.map(risk, radii))]

    def _fitted(self, anomalies: Float[Array, "n d"]) -> Localisation:
        return self._of(self.radius(anomalies))

    def _of(self, radius: Scalar) -> Localisation:
        return dataclasses.replace(self.localisation, radius=radius)
