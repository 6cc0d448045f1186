"""Covariance localisation: measurements count for the coordinates near them.

A localised filter asks for `near`, the measurements around every coordinate; `taper` is the same as
one table, for small problems, and for tests.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._checks import checked_mesh, concrete, mesh_axis, positive
from .._typing import Array, Float, Number, Scalar, as_leaf, tunable
from .._words import counted
from ..numerics import safe_sqrt
from .halo import Halo, by_device
from .neighbours import NeighbourLists, Neighbours, neighbour_lists

T = TypeVar("T")


def gaspari_cohn(distance: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Return the fifth-order taper of Gaspari and Cohn 1999 (Eq. 4.10), 0 from distance 2 on."""
    r = jnp.abs(distance)
    inner = 1 - 5 / 3 * r**2 + 5 / 8 * r**3 + 0.5 * r**4 - 0.25 * r**5
    safe = jnp.maximum(r, 0.5)
    outer = 4 - 5 * r + 5 / 3 * r**2 + 5 / 8 * r**3 - 0.5 * r**4 + r**5 / 12 - 2 / (3 * safe)
    return jnp.where(r < 1, inner, jnp.where(r < 2, jnp.maximum(outer, 0), 0))


def _as_period(period: Any) -> Any:
    """Return lengths, infinite along an axis that is not periodic."""
    if isinstance(period, (list, tuple)):
        return as_leaf([math.inf if length is None else length for length in period])
    return as_leaf(period)


def _mesh_if_any(value: Any) -> Mesh | None:
    return None if value is None else checked_mesh(value)


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
        max_radius: the largest radius of a sweep, for which lists of neighbours are then made.
            None for `radius`; where that is traced, every coordinate looks at all measurements.
        lists: of neighbours; a localised filter makes them (`listed`) where they are shorter than
            half of the measurements and positions are known. A radius that is made larger than
            theirs afterwards gives weights of NaN, and so a failed analysis.
        mesh: devices over which a localised filter shares out the coordinates, in blocks in their
            order: each device holds its block of the state and of the measurements, and receives
            of the others the measurements that its lists name (`kdediff_jax.ensemble.halo`). The
            analysis is that of one device within rounding. None, or one device, shares nothing.
        axis: the mesh axis to share them over; the first by default. Along others there are copies.

    Raises:
        ValueError: radius or period not positive, max_radius below radius, positions or weights
            that do not fit or are not finite, an axis that the mesh does not have; a mesh where
            positions or the largest radius are traced when the filter is made.
        TypeError: a mesh of another kind.
    """

    state: Number = tunable()
    measured: Number = tunable()
    radius: Number = tunable()
    period: Any = eqx.field(converter=_as_period, default=None)
    placeless: Number = tunable((), kw_only=True)
    max_radius: Number = tunable(None, kw_only=True)
    lists: NeighbourLists | None = eqx.field(kw_only=True, default=None)
    mesh: Mesh | None = eqx.field(static=True, kw_only=True, default=None, converter=_mesh_if_any)
    axis: str | None = eqx.field(static=True, kw_only=True, default=None)

    def __check_init__(self) -> None:
        """Check what is known."""
        mesh_axis(self.mesh, self.axis)
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
        for name in ("state", "measured"):
            places = concrete(getattr(self, name))
            if places is not None and not np.isfinite(places).all():
                raise ValueError(f"positions: expected finite numbers, got {name} with others")
        if self.max_radius is not None:
            largest = concrete(self.max_radius)
            if known is not None and largest is not None and not (largest >= known).all():
                raise ValueError(
                    f"max_radius: expected at least the radius {known.tolist()}, got "
                    f"{largest.tolist()}"
                )
        weights = concrete(self.placeless)
        if weights is not None and not ((weights >= 0) & (weights <= 1)).all():
            raise ValueError(f"placeless: expected weights from 0 to 1, got {weights.tolist()}")

    def listed(self) -> Localisation:
        """Return the same with lists of neighbours, where they are worth it."""
        radius = self.radius if self.max_radius is None else self.max_radius
        period = jnp.inf if self.period is None else self.period
        known = [concrete(value) for value in (self.state, self.measured, radius, period)]
        axis = mesh_axis(self.mesh, self.axis)
        mesh = self.mesh if self.mesh is not None and self.mesh.shape[axis] > 1 else None
        if any(value is None for value in known):
            if mesh is not None:
                raise ValueError(
                    "mesh: expected positions, period and the largest radius that are known when "
                    "the filter is made, got traced ones (try: make it outside of `jit`, with a "
                    "max_radius)"
                )
            return dataclasses.replace(self, lists=None)
        state, measured, radius, period = (np.asarray(value, float) for value in known)
        state, measured = (p.reshape(p.shape[0], -1) for p in (state, measured))
        period, radius = np.broadcast_to(period, state.shape[1:]), float(np.max(radius))
        distance = 2 * _half_width(radius)
        lists = neighbour_lists(state, measured, distance, period, radius, mesh, axis)
        return self if lists is None is self.lists else dataclasses.replace(self, lists=lists)

    def near(self, d: int, m: int, dtype: jnp.dtype) -> tuple[Neighbours, ...]:
        """Return the measurements near every coordinate, and their weights.

        Raises:
            ValueError: another number of coordinates or components.
        """
        if self.lists is None:
            return (Neighbours(self.taper(d, m, dtype)),)
        self._check(d, m)
        lists = self.lists
        placed = _listed(self, self.state, self.measured, lists.measured, dtype, lists.halo)
        everywhere = jnp.asarray(self.placeless, dtype)[:, None]
        if everywhere.shape[0] == 0:
            return (placed,)
        return placed, Neighbours(jnp.broadcast_to(everywhere, (everywhere.shape[0], m)))

    def neighbourhood_size(self, d: int, dtype: jnp.dtype) -> Scalar:
        """Return how many coordinates are near one in the mean, each counted by its taper."""
        if self.lists is None:
            return jnp.mean(jnp.sum(self.among_state(d, dtype), axis=1))
        state = jnp.asarray(self.state)
        sample = _listed(self, state[self.lists.sample], state, self.lists.around, dtype)
        placed = jnp.mean(jnp.sum(sample.weights, axis=1))
        weights = jnp.asarray(self.placeless, dtype)
        p, total = weights.shape[0], jnp.sum(weights)
        among = total**2 - jnp.sum(weights**2) + p  # of those without a place
        return ((d - p) * (placed + 2 * total) + among) / d

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
        a, b = (_as_points(p, dtype) for p in (rows, columns))
        return self.weights(a[:, None] - b[None])

    def weights(self, gap: Float[Array, "*s a"]) -> Float[Array, "*s"]:
        """Return the taper of differences of positions, along the last axis."""
        gap, dtype = jnp.abs(gap), gap.dtype
        if self.period is not None:
            period = jnp.broadcast_to(jnp.asarray(self.period, dtype), gap.shape)
            ring = jnp.where(jnp.isinf(period), 1, period)
            around = jnp.minimum(gap % ring, (-gap) % ring)
            gap = jnp.where(jnp.isinf(period), gap, around)
        half_width = _half_width(jnp.asarray(self.radius, dtype))
        return gaspari_cohn(safe_sqrt(jnp.sum(gap**2, axis=-1)) / half_width)


def _half_width(radius: T) -> T:
    """Return c of Gaspari and Cohn, whose taper is 0 from 2 c on."""
    return radius * (10 / 3) ** 0.5


def _as_points(places: Any, dtype: jnp.dtype) -> Float[Array, "k a"]:
    return jnp.asarray(places, dtype).reshape(jnp.shape(places)[0], -1)


def _listed(
    localisation: Localisation,
    places: Any,
    others: Any,
    indices: Array,
    dtype: jnp.dtype,
    halo: Halo | None = None,
) -> Neighbours:
    """Return the neighbours that lists name, with their weights."""

    def weigh(rows: tuple[Array, Array], others: Array) -> tuple[Array, Array]:
        indices, points = rows
        filling = indices == others.shape[0]
        indices = jnp.where(filling, 0, indices)
        weights = localisation.weights(points[:, None] - others[indices])
        return jnp.where(filling, 0, weights), indices

    rows = indices, _as_points(places, dtype)
    weights, indices = by_device(halo, weigh, rows, _as_points(others, dtype))
    assert localisation.lists is not None
    served = jnp.asarray(localisation.radius, dtype) <= jnp.asarray(
        localisation.lists.radius * (1 + 1e-6), dtype
    )
    return Neighbours(jnp.where(served, weights, jnp.nan), indices, halo)


def checked_localisation(value: Localisation) -> Localisation:
    """Return the localisation with its lists of neighbours; TypeError for anything else."""
    if not isinstance(value, Localisation):
        raise TypeError(f"localisation: expected a Localisation, got {value!r}")
    return value.listed()
