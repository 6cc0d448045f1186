r"""A localisation whose radius follows the ensemble: that of the least risk.

The gain of a local analysis is a ridge regression of a coordinate x on the predictions h_k of the
measurements near it: with the taper rho_k(r) of radius r it is the K of the least

    sum_i (x_i - mean x - K (h_i - mean h))^2 / (N - 1) + sum_k K_k^2 R_k / rho_k(r).

What it makes of a truth that is no member, and of a measurement of it, has the expected square

    E (x - mean x - K (h - mean h))^2 + sum_k K_k^2 R_k,

the risk, whose first term is what each member leaves when the gain is that of the others. With the
N x N matrix G = sum_k rho_k h_k h_k^T / ((N - 1) R_k) of the anomalies and a = (1 + G)^{-1} x that
is a_i / ([(1 + G)^{-1}]_ii - 1 / N), exactly: no gain is formed twice. The radius of the least mean
logarithm of the risk over the field is taken, in every cycle anew: of errors that grow by a factor
from cycle to cycle, an analysis takes a factor. It depends on members, field, R and the
measurements near, not on y.

The best radius of one analysis is a little narrow for many. What a narrow one leaves of an error
keeps growing, while the noise of a wide one decays in the model: hence `widening`.

Source: leave-one-out errors of a regression in closed form are those of Allen 1974, Technometrics
16, 125 (PRESS). The choice of a radius by a risk is that of Menetrier, Montmerle, Michel and Berre
2015, Mon. Wea. Rev. 143, 1622, whose risk is that of the covariance, whatever is measured.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._checks import concrete, positive
from .._printing import printed
from .._typing import Array, Float, Number, Scalar, like, tunable
from ..numerics import dot
from .abstract_localisation import AbstractLocalisation
from .localisation import Localisation
from .neighbours import Neighbourhoods, Neighbours, each_neighbourhood

ASKED = 32  # coordinates whose risk is estimated


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
        widening: factor of the radius chosen.
        asked: a localisation of the coordinates that are asked; a localised filter makes it
            (`listed`).

    Raises:
        TypeError: a localisation of another kind.
        ValueError: no factors, some or a widening that are not positive, or (when called) fewer
            than three members.
    """

    localisation: Localisation = eqx.field(converter=_localisation)
    factors: Number = tunable(tuple(2 ** (k / 2) for k in range(-3, 4)))
    widening: Number = tunable(1.4, kw_only=True)
    asked: Localisation | None = eqx.field(kw_only=True, default=None)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("factors", self.factors)
        positive("widening", self.widening)
        if jnp.ndim(self.factors) != 1 or jnp.size(self.factors) == 0:
            raise ValueError(
                f"factors: expected one or more numbers, got shape {jnp.shape(self.factors)}"
            )

    def __repr__(self) -> str:
        return printed(self)

    def listed(self) -> AdaptiveRadius:
        """Return the same with lists that serve the largest radius."""
        where = self.localisation
        largest = where.radius * jnp.max(self.factors) * jnp.maximum(1, self.widening)
        if where.max_radius is not None:
            largest = jnp.maximum(largest, where.max_radius)
        known = concrete(largest)
        wide = dataclasses.replace(where, max_radius=largest if known is None else known)
        rows = self._rows()
        few = dataclasses.replace(
            wide,
            state=jnp.asarray(wide.state)[rows]
            if concrete(wide.state) is None
            else np.asarray(wide.state)[rows],
            placeless=(),
            points=None,
            lists=None,
            placed=None,
            mesh=None,
            axis=None,
        )
        return dataclasses.replace(self, localisation=wide.listed(), asked=few.listed())

    def around(
        self, anomalies: Float[Array, "n d"], deviations: Float[Array, "n m"], t: Scalar | None
    ) -> Neighbourhoods:
        """Return the measurements near every point, with weights of the radius that fits."""
        radius = like(anomalies, self.widening) * self.radius(anomalies, deviations, t)
        return _of(self.localisation, radius).around(anomalies, deviations, t)

    def size_around(self, anomalies: Float[Array, "n d"]) -> Scalar:
        """Return how many coordinates are near one, by the radius that was given.

        That is the size of what belongs together, whatever an ensemble can tell of it.
        """
        return self.localisation.size_around(anomalies)

    def radius(
        self,
        anomalies: Float[Array, "n d"],
        deviations: Float[Array, "n m"],
        t: Scalar | None = None,
    ) -> Scalar:
        """Return the radius of the least risk, without the widening.

        Args:
            anomalies: of the members.
            deviations: of their predictions, in standard deviations of the noise.
            t: model time, which a `MovingNetwork` needs.

        Raises:
            ValueError: fewer than three members.
        """
        n = anomalies.shape[0]
        if n < 3:
            raise ValueError(f"localisation: expected at least 3 members for a risk, got {n}")
        asked = self.listed().asked if self.asked is None else self.asked
        assert asked is not None
        anomalies, deviations = lax.stop_gradient((anomalies, deviations))
        columns = anomalies.T[self._rows()]
        radii = like(anomalies, self.localisation.radius) * like(anomalies, self.factors)

        def mean_log_risk(radius: Scalar) -> Scalar:
            near = _of(asked, radius).near(
                columns.shape[0], deviations.shape[1], anomalies.dtype, t
            )
            return jnp.mean(each_neighbourhood(_log_risk, near, columns, measured=deviations.T))

        return radii[jnp.argmin(lax.map(mean_log_risk, lax.stop_gradient(radii)))]

    def _rows(self) -> np.ndarray:
        d = jnp.shape(self.localisation.state)[0]
        return np.unique(np.linspace(0, d - 1, ASKED).astype(int))


def _log_risk(near: Neighbours, x: Float[Array, " n"], h: Float[Array, "m n"]) -> Scalar:
    """Return the logarithm of the risk of one coordinate, in units of its variance.

    Args:
        near: the measurements near it.
        x: its anomalies.
        h: deviations of all predictions, in standard deviations of the noise.
    """
    n = x.shape[0]
    scaled = near.of(h) * jnp.sqrt(near.weights / (n - 1))[:, None]
    inverse = jnp.linalg.inv(jnp.eye(n, dtype=x.dtype) + dot(scaled.T, scaled))
    residual = dot(inverse, x[:, None])
    left = residual[:, 0] / jnp.maximum(jnp.diag(inverse) - 1 / n, jnp.finfo(x.dtype).eps)
    of_noise = jnp.sum(near.weights * dot(scaled, residual)[:, 0] ** 2)
    variance = jnp.sum(x**2)
    varies = variance > 0
    risk = ((n - 1) * jnp.mean(left**2) + of_noise) / jnp.where(varies, variance, 1)
    return jnp.log(jnp.where(varies, risk, 1))


def _of(localisation: Localisation, radius: Scalar) -> Localisation:
    return dataclasses.replace(localisation, radius=radius)
