"""Covariance localisation: measurements count for the coordinates near them.

A localised filter asks for `near`, the measurements around every coordinate; `taper` is the same as
one table, for small problems, and for tests.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._checks import checked_mesh, concrete, count, mesh_axis, per_coordinate, positive
from .._typing import Array, Bool, Float, Int, Number, Scalar, tunable
from .._words import counted
from .abstract_localisation import AbstractLocalisation
from .analysis_points import AbstractAnalysisPoints, PlacedPoints
from .halo import Halo, by_device
from .neighbours import Neighbourhoods, NeighbourLists, Neighbours, Reach, neighbour_lists
from .networks import MovingNetwork
from .taper import as_period, half_width, taper


def _mesh_if_any(value: Any) -> Mesh | None:
    return None if value is None else checked_mesh(value)


class Localisation(AbstractLocalisation):
    """Where coordinates and measurements are, and how far a measurement reaches.

    Args:
        state: positions [d] or [d k] of the state's coordinates.
        measured: positions [m] or [m k] of the measurement's components, or a `MovingNetwork`.
        radius: the taper is that of Gaspari and Cohn, of the width of exp(-r^2 / (2 radius^2)).
        period: length of the domain: one number, or one per axis; None where it is not periodic.
        placeless: weights from 0 to 1, one for each further coordinate, behind those of `state`,
            that has no place: a parameter of the model. Every measurement has that weight for it,
            at any distance: 1 is the update of a filter without localisation.
        max_radius: the largest radius of a sweep, for which lists of neighbours are then made.
            None for `radius`; where that is traced, every coordinate looks at all measurements.
        points: where local analyses are made: None for every coordinate; `AnalysisBlocks` or
            `AnalysisGrid` for fewer points, whose weights coordinates share.
        max_neighbours: as many measurements as may be near a point. Lists are filled up to it, so
            that another network compiles nothing new. None for as many as are.
        lists: of neighbours; a localised filter makes them (`listed`) where they are shorter than
            half of the measurements and positions are known. A radius that is made larger than
            theirs afterwards gives weights of NaN, and so a failed analysis; so does a time that a
            `MovingNetwork` does not know.
        placed: the points; a localised filter finds them, too.
        mesh: devices over which a localised filter shares out the coordinates, in blocks in their
            order: each device holds its block of the state and of the measurements, and receives
            of the others the measurements that its lists name (`kdediff_jax.ensemble.halo`). The
            analysis is that of one device within rounding. None, or one device, shares nothing.
        axis: the mesh axis to share them over; the first by default. Along others there are copies.

    Raises:
        ValueError: radius or period not positive, max_radius below radius, positions or weights
            that do not fit or are not finite, an axis that the mesh does not have, a mesh with
            `points` or a `MovingNetwork`; when a filter is made: more neighbours than
            `max_neighbours`, no fewer points than coordinates, points or a mesh with traced
            positions.
        TypeError: a mesh of another kind.
    """

    state: Number = tunable()
    measured: Number = tunable()
    radius: Number = tunable()
    period: Any = eqx.field(converter=as_period, default=None)
    placeless: Number = tunable((), kw_only=True)
    max_radius: Number = tunable(None, kw_only=True)
    points: AbstractAnalysisPoints | None = eqx.field(kw_only=True, default=None)
    max_neighbours: int | None = eqx.field(kw_only=True, static=True, default=None)
    lists: NeighbourLists | None = eqx.field(kw_only=True, default=None)
    placed: PlacedPoints | None = eqx.field(kw_only=True, default=None)
    mesh: Mesh | None = eqx.field(static=True, kw_only=True, default=None, converter=_mesh_if_any)
    axis: str | None = eqx.field(static=True, kw_only=True, default=None)

    def __check_init__(self) -> None:
        """Check what is known."""
        if self._devices() is not None and (self.points is not None or self.moving is not None):
            raise ValueError(
                "mesh: expected an analysis at every coordinate and measurements that stay, got "
                f"{'points' if self.points is not None else 'a MovingNetwork'} (try: mesh=None)"
            )
        known = concrete(self.radius)
        if known is not None and not (known > 0).all():
            raise ValueError(f"radius: expected a positive number, got {known.tolist()}")
        if self.max_neighbours is not None:
            count("max_neighbours", self.max_neighbours)
        if self.points is not None and not isinstance(self.points, AbstractAnalysisPoints):
            raise TypeError(
                f"points: expected None, AnalysisBlocks or AnalysisGrid, got {self.points!r}"
            )
        shapes = jnp.shape(self.state), self._shape()
        if not all(len(s) in (1, 2) for s in shapes) or shapes[0][1:] != shapes[1][1:]:
            raise ValueError(
                f"positions: expected shapes (d,) and (m,) or (d, k) and (m, k), got {shapes}"
            )
        if self.period is not None:
            positive("period", self.period, infinite=True)
            per_coordinate("period", self.period, math.prod(shapes[0][1:]))
        if jnp.ndim(self.placeless) != 1:
            raise ValueError(
                "placeless: expected one weight for each coordinate without a place, got shape "
                f"{jnp.shape(self.placeless)}"
            )
        for name in ("state", "measured"):
            value = getattr(self, name)  # a network has checked its own
            places = None if isinstance(value, MovingNetwork) else concrete(value)
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

    @property
    def moving(self) -> MovingNetwork | None:
        """The network, where measurements move."""
        return self.measured if isinstance(self.measured, MovingNetwork) else None

    def _shape(self) -> tuple[int, ...]:
        """Return the shape of the measurement's positions at one time."""
        moving = self.moving
        return jnp.shape(self.measured if moving is None else moving.places)[moving is not None :]

    def listed(self) -> Localisation:
        """Return the same with lists of neighbours, where they are worth it.

        Raises:
            ValueError: more neighbours than `max_neighbours`; points, of traced positions or no
                fewer than coordinates.
        """
        radius = self.radius if self.max_radius is None else self.max_radius
        period = jnp.inf if self.period is None else self.period
        state, period, radius = (concrete(value) for value in (self.state, period, radius))
        measured = self._known_places()
        placed = self._placed(state, period)
        mesh = self._devices()
        if state is None or period is None or radius is None or measured is None:
            if mesh is not None:
                raise ValueError(
                    "mesh: expected positions, period and the largest radius that are known when "
                    "the filter is made, got traced ones (try: make it outside of `jit`, with a "
                    "max_radius)"
                )
            return self._with(None, placed)
        state = _as_columns(state)
        period, radius = np.broadcast_to(period.astype(float), state.shape[1:]), float(radius.max())
        points = state if placed is None else np.asarray(placed.positions)
        far = Reach(radius, 2 * half_width(radius), period, self.max_neighbours)
        axis = mesh_axis(self.mesh, self.axis)
        lists = neighbour_lists(points, state, measured, self._shape()[0], far, mesh, axis)
        return self._with(lists, placed)

    def _devices(self) -> Mesh | None:
        """Return the mesh, where it shares anything out."""
        axis = mesh_axis(self.mesh, self.axis)
        return self.mesh if self.mesh is not None and self.mesh.shape[axis] > 1 else None

    def _with(self, lists: NeighbourLists | None, placed: PlacedPoints | None) -> Localisation:
        if lists is None is self.lists and placed is None is self.placed:
            return self
        return dataclasses.replace(self, lists=lists, placed=placed)

    def _known_places(self) -> list[np.ndarray] | None:
        """Return the measurements' positions at every time, or None where they are traced."""
        moving = self.moving
        if moving is None:
            places = concrete(self.measured)
            return None if places is None else [_as_columns(places)]
        places, present = concrete(moving.places), concrete(moving.present)
        if places is None or present is None:
            return None
        return [_as_columns(p[there]) for p, there in zip(places, present, strict=True)]

    def _placed(self, state: np.ndarray | None, period: np.ndarray | None) -> PlacedPoints | None:
        if self.points is None:
            return None
        if state is None or period is None:
            raise ValueError(
                "points: expected positions and period that are known when the filter is made, "
                "got traced ones (try: points=None)"
            )
        state = _as_columns(state)
        return self.points.place(state, np.broadcast_to(period.astype(float), state.shape[1:]))

    def near(self, d: int, m: int, dtype: jnp.dtype, t: Scalar | None = None) -> Neighbourhoods:
        """Return the measurements near every point of analysis, and their weights.

        Args:
            d: number of coordinates.
            m: number of the measurement's components.
            dtype: of the weights.
            t: model time, which a `MovingNetwork` needs.

        Raises:
            ValueError: another number of coordinates or components, no time for a `MovingNetwork`.
        """
        self._check(d, m)
        points = self.state if self.placed is None else self.placed.positions
        places, indices, present = self._at(t, dtype)
        if indices is None:
            placed = Neighbours(jnp.where(present, self._between(points, places, dtype), 0))
        else:
            halo = None if self.lists is None else self.lists.halo
            placed = _listed(self, points, places, indices, dtype, halo)
        placed = placed._replace(weights=self._at_known_times(placed.weights, t))
        everywhere = jnp.asarray(self.placeless, dtype)[:, None]
        more = everywhere.shape[0]
        shared = None if self.placed is None else self.placed.with_others(more, dtype)
        if more == 0:
            return Neighbourhoods((placed,), shared)
        others = jnp.where(present, jnp.broadcast_to(everywhere, (more, m)), 0)
        return Neighbourhoods((placed, Neighbours(others)), shared)

    def around(
        self, anomalies: Float[Array, "n d"], deviations: Float[Array, "n m"], t: Scalar | None
    ) -> Neighbourhoods:
        """Return `near`, whatever the ensemble."""
        return self.near(anomalies.shape[1], deviations.shape[1], anomalies.dtype, t)

    def size_around(self, anomalies: Float[Array, "n d"]) -> Scalar:
        """Return `neighbourhood_size`, whatever the ensemble."""
        return self.neighbourhood_size(anomalies.shape[1], anomalies.dtype)

    def _at(
        self, t: Scalar | None, dtype: jnp.dtype
    ) -> tuple[Array, Int[Array, "p k"] | None, Bool[Array, " m"]]:
        """Return the measurements' places, their lists, and which there are."""
        lists = None if self.lists is None else self.lists.measured
        moving = self.moving
        if moving is None:
            return jnp.asarray(self.measured, dtype), lists, jnp.ones(self._shape()[0], bool)
        if t is None:
            raise ValueError(
                "localisation: expected a time for a MovingNetwork, got a call without one (try: "
                "call the filter with an observation; `update` knows no time)"
            )
        k = moving.index(t)
        places = jnp.asarray(moving.places, dtype)[k]
        return places, None if lists is None else lists[k], moving.present[k]

    def _at_known_times(self, weights: Float[Array, "p k"], t: Scalar | None) -> Array:
        if self.moving is None or t is None:
            return weights
        return jnp.where(self.moving.known_at(t), weights, jnp.nan)

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

    def taper(
        self, d: int, m: int, dtype: jnp.dtype, t: Scalar | None = None
    ) -> Float[Array, "d m"]:
        """Return the weight of every measurement for every coordinate, at a point of its own.

        Raises:
            ValueError: another number of coordinates or components.
        """
        one_each = dataclasses.replace(self, points=None, lists=None, placed=None)
        (placed, *others), _ = one_each.near(d, m, dtype, t)
        return jnp.concatenate([placed.weights, *(each.weights for each in others)])

    def among_state(self, d: int, dtype: jnp.dtype) -> Float[Array, "d d"]:
        """Return the same taper between coordinates. Raises as `taper`.

        A coordinate without a place is as near to all others as the measurements are to it.
        """
        self._check(d, self._shape()[0])
        placed = self._between(self.state, self.state, dtype)
        weights = jnp.asarray(self.placeless, dtype)
        all_weights = jnp.concatenate([jnp.ones(placed.shape[:1], dtype), weights])
        among = all_weights[:, None] * all_weights[None]
        among = jnp.where(jnp.eye(d, dtype=bool), 1, among)
        k = placed.shape[0]
        return among.at[:k, :k].set(placed)

    def _check(self, d: int, m: int) -> None:
        more = jnp.shape(self.placeless)[0]
        found = jnp.shape(self.state)[0] + more, self._shape()[0]
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
        return taper(gap, self.radius, self.period)


def _as_columns(places: np.ndarray) -> np.ndarray:
    return places.astype(float).reshape(places.shape[0], math.prod(places.shape[1:]))


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
