"""Covariance localisation: measurements count for the coordinates near them."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._checks import concrete, positive
from .._typing import Array, Bool, Float, Number, as_leaf, tunable
from .._words import counted
from ..numerics import safe_sqrt


def gaspari_cohn(distance: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Return the fifth-order taper of Gaspari and Cohn 1999 (Eq. 4.10), 0 from distance 2 on."""
    r = jnp.abs(distance)
    inner = 1 - 5 / 3 * r**2 + 5 / 8 * r**3 + 0.5 * r**4 - 0.25 * r**5
    safe = jnp.maximum(r, 0.5)
    outer = 4 - 5 * r + 5 / 3 * r**2 + 5 / 8 * r**3 - 0.5 * r**4 + r**5 / 12 - 2 / (3 * safe)
    return jnp.where(r < 1, inner, jnp.where(r < 2, jnp.maximum(outer, 0), 0))


def reach(taper: Float[Array, "d m"], measured: Bool[Array, " m"]) -> Float[Array, " d"]:
    """Return the largest weight that a measured component has for each coordinate."""
    return jnp.max(jnp.where(measured[None], taper, 0), axis=1)


def _as_period(period: Any) -> Any:
    """Return lengths, infinite along an axis that is not periodic."""
    if isinstance(period, (list, tuple)):
        return as_leaf([math.inf if length is None else length for length in period])
    return as_leaf(period)


class Localisation(eqx.Module):
    """Where coordinates and measurements are, and how far a measurement reaches.

    Args:
        state: positions [d] or [d k] of the state's coordinates.
        measured: positions [m] or [m k] of the measurement's components.
        radius: the taper is that of Gaspari and Cohn, of the width of exp(-r^2 / (2 radius^2)).
        period: length of the domain: one number, or one per axis; None where it is not periodic.
        placeless: weights from 0 to 1, one for each further coordinate, behind those of `state`,
            that has no place: a parameter of the model. Every measurement has that weight for it,
            at any distance: 1 is the update of a filter without localisation.

    Raises:
        ValueError: radius or period not positive, positions or weights that do not fit.
    """

    state: Number = tunable()
    measured: Number = tunable()
    radius: Number = tunable()
    period: Any = eqx.field(converter=_as_period, default=None)
    placeless: Number = tunable((), kw_only=True)

    def __check_init__(self) -> None:
        """Check what is known."""
        known = concrete(self.radius)
        if known is not None and not (known > 0).all():
            raise ValueError(f"radius: expected a positive number, got {known.tolist()}")
        if self.period is not None:
            positive("period", self.period, infinite=True)
        shapes = jnp.shape(self.state), jnp.shape(self.measured)
        if not all(len(s) in (1, 2) for s in shapes) or shapes[0][1:] != shapes[1][1:]:
            raise ValueError(
                f"positions: expected shapes (d,) and (m,) or (d, k) and (m, k), got {shapes}"
            )
        if jnp.ndim(self.placeless) != 1:
            raise ValueError(
                "placeless: expected one weight for each coordinate without a place, got shape "
                f"{jnp.shape(self.placeless)}"
            )
        weights = concrete(self.placeless)
        if weights is not None and not ((weights >= 0) & (weights <= 1)).all():
            raise ValueError(f"placeless: expected weights from 0 to 1, got {weights.tolist()}")

    def taper(self, d: int, m: int, dtype: jnp.dtype) -> Float[Array, "d m"]:
        """Return the weight of every measurement for every coordinate.

        Raises:
            ValueError: another number of coordinates or components.
        """
        self._check(d, m)
        placed = self._between(self.state, self.measured, dtype)
        everywhere = jnp.asarray(self.placeless, dtype)[:, None]
        return jnp.concatenate([placed, jnp.broadcast_to(everywhere, (everywhere.shape[0], m))])

    def among_state(self, d: int, dtype: jnp.dtype) -> Float[Array, "d d"]:
        """Return the same taper between coordinates. Raises as `taper`.

        A coordinate without a place is as near to all others as the measurements are to it.
        """
        self._check(d, jnp.shape(self.measured)[0])
        placed = self._between(self.state, self.state, dtype)
        weights = jnp.asarray(self.placeless, dtype)
        all_weights = jnp.concatenate([jnp.ones(placed.shape[:1], dtype), weights])
        among = all_weights[:, None] * all_weights[None]
        among = jnp.where(jnp.eye(d, dtype=bool), 1, among)
        k = placed.shape[0]
        return among.at[:k, :k].set(placed)

    def _check(self, d: int, m: int) -> None:
        more = jnp.shape(self.placeless)[0]
        found = jnp.shape(self.state)[0] + more, jnp.shape(self.measured)[0]
        if found != (d, m):
            without = f", of which {more} without a place," if more else ""
            raise ValueError(
                f"localisation: expected positions of {counted(d, 'coordinate')} and "
                f"{counted(m, 'measurement')}, "
                f"got {found[0]}{without} and {found[1]}"
            )

    def _between(self, rows: Any, columns: Any, dtype: jnp.dtype) -> Float[Array, "r c"]:
        a, b = (jnp.asarray(p, dtype).reshape(jnp.shape(p)[0], -1) for p in (rows, columns))
        gap = jnp.abs(a[:, None] - b[None])
        if self.period is not None:
            period = jnp.broadcast_to(jnp.asarray(self.period, dtype), gap.shape)
            ring = jnp.where(jnp.isinf(period), 1, period)
            around = jnp.minimum(gap % ring, (-gap) % ring)
            gap = jnp.where(jnp.isinf(period), gap, around)
        half_width = jnp.asarray(self.radius, dtype) * (10 / 3) ** 0.5
        return gaspari_cohn(safe_sqrt(jnp.sum(gap**2, axis=2)) / half_width)


def checked_localisation(value: Localisation) -> Localisation:
    """Return the localisation; TypeError for anything else."""
    if not isinstance(value, Localisation):
        raise TypeError(f"localisation: expected a Localisation, got {value!r}")
    return value
