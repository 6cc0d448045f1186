r"""Which measurements are near each coordinate: lists [d k], never a table [d m].

The lists are made once, when a localised filter is, by a k-d tree (Maneewongvatana and Mount 1999,
SciPy's): a million coordinates take seconds. All have the length of the longest; what only fills a
list has weight 0. Where a list would hold half of the measurements, a table is cheaper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._typing import Array, Bool, Float, Int
from ..numerics import in_batches
from .halo import Halo, by_device, shared_out

AT_ONCE = 64  # points of a localised analysis, where each has a decomposition of its own
SHARED_AT_ONCE = 256  # coordinates that take what they need from analyses already made
SAMPLED = 1000  # coordinates whose neighbours are counted
STEP = 8  # lengths of lists are its multiples: a radius a little larger compiles nothing new


class Neighbours(NamedTuple):
    """The measurements near a coordinate, or near each of several.

    Attributes:
        weights: of the measurements listed [*d k].
        indices: which they are [*d k]; None for all of them, in order.
        halo: how both are shared out over devices, where they are; the indices are then those of
            the measurements that a device has.
    """

    weights: Float[Array, "*d k"]
    indices: Int[Array, "*d k"] | None = None
    halo: Halo | None = None

    def of(self, values: Float[Array, "m *s"]) -> Float[Array, "*d k *s"]:
        """Return the values of the measurements listed."""
        return values if self.indices is None else values[self.indices]


class Interpolation(NamedTuple):
    """Which points of analysis every coordinate uses.

    Attributes:
        indices: of the points [d c].
        weights: of those points, with sum 1 [d c].
    """

    indices: Int[Array, "d c"]
    weights: Float[Array, "d c"]

    def of(self, values: Any) -> Any:
        """Return values of the points [p ...] at every coordinate [d ...]."""
        used = range(self.indices.shape[-1])

        def mixed(value: Array) -> Array:
            if len(used) == 1:  # a block's, as they are
                return value[self.indices[..., 0]]
            wide = (..., *(None,) * (value.ndim - 1))
            first, *others = (
                self.weights[..., c][wide] * value[self.indices[..., c]] for c in used
            )
            return sum(others, first)

        return jax.tree.map(mixed, values)


class Neighbourhoods(NamedTuple):
    """The measurements near every point of analysis.

    Attributes:
        groups: one after the other, for some points each.
        shared: which points every coordinate uses; None where each coordinate is one itself.
    """

    groups: tuple[Neighbours, ...]
    shared: Interpolation | None = None

    def at_coordinates(self, values: Float[Array, "p *s"]) -> Float[Array, "d *s"]:
        """Return values of the points at every coordinate."""
        return values if self.shared is None else self.shared.of(values)

    def with_weights(self, weights: Float[Array, "p k"]) -> Neighbourhoods:
        """Return the same measurements, with other weights."""
        ends = np.cumsum([group.weights.shape[0] for group in self.groups])
        parts = jnp.split(weights, ends[:-1])
        groups = (
            group._replace(weights=part) for group, part in zip(self.groups, parts, strict=True)
        )
        return self._replace(groups=tuple(groups))


def each_neighbourhood(
    function: Callable[..., Any], near: Neighbourhoods, *rows: Array, measured: Any
) -> Any:
    """Return a function of every point's neighbours and rows.

    Some points are taken at once, to bound memory.

    Args:
        function: of the `Neighbours` of one point, of its rows, and of `measured`, or the part
            of it that a device has: what its `Neighbours` are asked for.
        near: the measurements near every point.
        rows: of all points [p ...].
        measured: an array [m ...], or some, of all measurements.
    """

    def some(rows: Any, measured: Any) -> Any:
        return in_batches(lambda row: function(*row, measured), rows, AT_ONCE)

    return _of_groups(some, near, rows, measured)


def each_coordinate(
    analyse: Callable[[Neighbours, Any], Any],
    take: Callable[..., Any],
    near: Neighbourhoods,
    *rows: Array,
    measured: Any,
) -> Any:
    """Return what every coordinate takes of the analyses at its points.

    Args:
        analyse: of the `Neighbours` of a point, and of `measured` as `each_neighbourhood` has it;
            what it returns is interpolated.
        take: of a coordinate, from what was found at its points, and its rows.
        near: the measurements near every point.
        rows: of all coordinates [d ...].
        measured: an array [m ...], or some, of all measurements.
    """
    if near.shared is None:

        def both(near: Neighbours, *rest: Any) -> Any:
            *row, seen = rest
            return take(analyse(near, seen), *row)

        return each_neighbourhood(both, near, *rows, measured=measured)
    found = each_neighbourhood(analyse, near, measured=measured)

    def one(row: tuple) -> Any:
        shared, *own = row
        return take(shared.of(found), *own)

    return in_batches(one, (near.shared, *rows), SHARED_AT_ONCE)


def reach(near: Neighbourhoods, measured: Bool[Array, " m"]) -> Float[Array, " d"]:
    """Return the largest weight that a measured component has for each coordinate."""

    def largest(near: Neighbours, measured: Array) -> Array:
        return jnp.max(jnp.where(near.of(measured), near.weights, 0), axis=1)

    return near.at_coordinates(all_neighbourhoods(largest, near, measured))


def all_neighbourhoods(function: Callable[..., Any], near: Neighbourhoods, measured: Any) -> Any:
    """Return a function of the neighbours of many points, for all of them.

    Args:
        function: of `Neighbours` with [p k] weights, and of `measured` as `each_neighbourhood` has
            it.
        near: the measurements near every point.
        measured: an array [m ...], or some, of all measurements.
    """
    return _of_groups(lambda rows, seen: function(rows[0], seen), near, (), measured)


def _of_groups(
    function: Callable[..., Any], near: Neighbourhoods, rows: tuple[Array, ...], seen: Any
) -> Any:
    """Return a function of the neighbours of many points, with their rows, for all of them."""
    found, start = [], 0
    for group in near.groups:
        end = start + group.weights.shape[0]
        each = group._replace(halo=None), *(row[start:end] for row in rows)
        found.append(by_device(group.halo, function, each, seen))
        start = end
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)


class NeighbourLists(NamedTuple):
    """Who is near whom, as far as a radius reaches.

    Attributes:
        measured: measurements near each point of analysis [p k], of every time [T p k] where they
            move; m fills up a list. With a halo those of each device, and copies of the last
            point's so that the devices divide them.
        sample: some coordinates [s], all of a few, from which the number of coordinates near one is
            found in the mean.
        around: coordinates near each of those [s l]; d fills up a list.
        radius: the largest that the lists serve.
        halo: how coordinates are shared out over devices, None where they are not.
    """

    measured: Int[Array, "*T p k"]
    sample: Int[Array, " s"]
    around: Int[Array, "s l"]
    radius: Float[Array, ""]
    halo: Halo | None = None

    def __repr__(self) -> str:
        """Say how long the lists are."""
        halo = "" if self.halo is None else f", halo={self.halo}"
        return f"NeighbourLists(measured={getattr(self.measured, 'shape', None)}{halo})"


class Reach(NamedTuple):
    """How far lists reach.

    Attributes:
        radius: of the localisation.
        distance: how far that reaches.
        period: of every axis, infinite where it has none.
        most: the longest list allowed, to which all are filled up; None for the longest found.
    """

    radius: float
    distance: float
    period: np.ndarray
    most: int | None = None


def neighbour_lists(
    points: np.ndarray,
    state: np.ndarray,
    measured: list[np.ndarray],
    m: int,
    far: Reach,
    mesh: Mesh | None = None,
    axis: str = "",
) -> NeighbourLists | None:
    """Return the lists, or None where tables are cheaper and there are no devices to share.

    Args:
        points: places of the analyses [p a].
        state: places of the coordinates [d a].
        measured: places of the measurements at every time, [m_t a] each; one where they stay.
        m: their number, of the components of y.
        far: how far lists reach.
        mesh: devices to share the points out over, None for one.
        axis: of the mesh.

    Raises:
        ValueError: a list longer than allowed.
    """
    near, halo = _at_every_time(points, measured, m, far), None
    if mesh is None and 2 * near.shape[2] > m:
        return None
    lists: Any = near if len(measured) > 1 else near[0]
    if mesh is not None:
        lists, halo = shared_out(near[0], m, mesh, axis)
    sample = np.unique(np.linspace(0, len(state) - 1, SAMPLED).astype(np.int32))
    around = _nearest(state[sample], state, far)
    lists, sample, around = (jnp.asarray(indices) for indices in (lists, sample, around))
    return NeighbourLists(lists, sample, around, jnp.asarray(far.radius), halo)


def _at_every_time(
    points: np.ndarray, measured: list[np.ndarray], m: int, far: Reach
) -> np.ndarray:
    """Return the measurements near every point [T p k]; m fills up a list."""
    found = [_nearest(points, others, far) for others in measured]
    length = max(indices.shape[1] for indices in found)
    if far.most is not None:
        for k, indices in enumerate(found):
            longest = int(np.max(np.sum(indices < len(measured[k]), axis=1)))
            if longest > far.most:
                when = f" at time {k}" if len(measured) > 1 else ""
                raise ValueError(
                    f"max_neighbours: expected at least {longest}, the measurements within reach "
                    f"of one coordinate{when}, got {far.most} (try: a smaller radius)"
                )
        length = far.most
    near = np.full((len(found), len(points), length), m, np.int32)
    for k, indices in enumerate(found):
        kept = indices[:, :length]
        near[k, :, : kept.shape[1]] = np.where(kept == len(measured[k]), m, kept)
    return near


def _nearest(places: np.ndarray, others: np.ndarray, far: Reach) -> np.ndarray:
    """Return the indices of the others within a distance of every place, in order [p k]."""
    from scipy.spatial import KDTree  # JAX needs SciPy too; loading it takes a while

    ring = np.where(np.isinf(far.period), 0, far.period)
    wrap = np.where(ring > 0, ring, 1)
    places, others = (np.where(ring > 0, x % wrap % wrap, x) for x in (places, others))
    tree = KDTree(others, boxsize=ring)
    distance = far.distance * (1 + 1e-5)  # a rounding: beyond, weights are 0
    counts = tree.query_ball_point(places, distance, return_length=True, workers=-1)
    length = -(-max(1, int(np.max(counts))) // STEP) * STEP
    _, indices = tree.query(places, k=length, distance_upper_bound=distance, workers=-1)
    return np.sort(indices, axis=1).astype(np.int32)
