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
from jax import lax
from jax.sharding import Mesh

from .._typing import Array, Bool, Float, Int
from .halo import Halo, by_device, shared_out

AT_ONCE = 64  # coordinates of a localised analysis, where each has a decomposition of its own
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


def each_neighbourhood(
    function: Callable[..., Any], near: tuple[Neighbours, ...], *rows: Array, measured: Any
) -> Any:
    """Return a function of every coordinate's neighbours and rows.

    Some coordinates are taken at once, to bound memory.

    Args:
        function: of the `Neighbours` of one coordinate, of its rows, and of `measured`, or the part
            of it that a device has: what its `Neighbours` are asked for.
        near: one after the other, for some coordinates each.
        rows: of all coordinates [d ...].
        measured: an array [m ...], or some, of all measurements.
    """

    def some(rows: Any, measured: Any) -> Any:
        return lax.map(lambda row: function(*row, measured), rows, batch_size=AT_ONCE)

    return _of_groups(some, near, rows, measured)


def reach(near: tuple[Neighbours, ...], measured: Bool[Array, " m"]) -> Float[Array, " d"]:
    """Return the largest weight that a measured component has for each coordinate."""

    def largest(near: Neighbours, measured: Array) -> Array:
        return jnp.max(jnp.where(near.of(measured), near.weights, 0), axis=1)

    return all_neighbourhoods(largest, near, measured)


def all_neighbourhoods(
    function: Callable[..., Any], near: tuple[Neighbours, ...], measured: Any
) -> Any:
    """Return a function of the neighbours of many coordinates, for all of them.

    Args:
        function: of `Neighbours` with [d k] weights, and of `measured` as `each_neighbourhood` has
            it.
        near: one after the other, for some coordinates each.
        measured: an array [m ...], or some, of all measurements.
    """
    return _of_groups(lambda rows, seen: function(rows[0], seen), near, (), measured)


def _of_groups(
    function: Callable[..., Any], near: tuple[Neighbours, ...], rows: tuple[Array, ...], seen: Any
) -> Any:
    """Return a function of the neighbours of many coordinates, with their rows, for all of them."""
    found, start = [], 0
    for group in near:
        end = start + group.weights.shape[0]
        each = group._replace(halo=None), *(row[start:end] for row in rows)
        found.append(by_device(group.halo, function, each, seen))
        start = end
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)


class NeighbourLists(NamedTuple):
    """Who is near whom, as far as a radius reaches.

    Attributes:
        measured: measurements near each coordinate [d k]; m fills up a list. With a halo those of
            each device, and copies of the last coordinate's so that the devices divide them.
        sample: some coordinates [s], all of a few, from which the number of coordinates near one is
            found in the mean.
        around: coordinates near each of those [s l]; d fills up a list.
        radius: the largest that the lists serve.
        halo: how coordinates are shared out over devices, None where they are not.
    """

    measured: Int[Array, "d k"]
    sample: Int[Array, " s"]
    around: Int[Array, "s l"]
    radius: Float[Array, ""]
    halo: Halo | None = None

    def __repr__(self) -> str:
        """Say how long the lists are."""
        halo = "" if self.halo is None else f", halo={self.halo}"
        return f"NeighbourLists(measured={getattr(self.measured, 'shape', None)}{halo})"


def neighbour_lists(
    state: np.ndarray,
    measured: np.ndarray,
    distance: float,
    period: np.ndarray,
    radius: float,
    mesh: Mesh | None = None,
    axis: str = "",
) -> NeighbourLists | None:
    """Return the lists, or None where tables are cheaper and there are no devices to share.

    Args:
        state: places of the coordinates [d a].
        measured: places of the measurements [m a].
        distance: how far the radius reaches.
        period: of every axis, infinite where it has none.
        radius: that of the localisation.
        mesh: devices to share the coordinates out over, None for one.
        axis: of the mesh.
    """
    near, halo = _nearest(state, measured, distance, period), None
    if mesh is None and 2 * near.shape[1] > measured.shape[0]:
        return None
    d = state.shape[0]
    sample = np.unique(np.linspace(0, d - 1, SAMPLED).astype(np.int32))
    around = _nearest(state[sample], state, distance, period)
    if mesh is not None:
        near, halo = shared_out(near, measured.shape[0], mesh, axis)
    near, sample, around = (jnp.asarray(indices) for indices in (near, sample, around))
    return NeighbourLists(near, sample, around, jnp.asarray(radius), halo)


def _nearest(
    places: np.ndarray, others: np.ndarray, distance: float, period: np.ndarray
) -> np.ndarray:
    """Return the indices of the others within a distance of every place, in order [p k]."""
    from scipy.spatial import KDTree  # JAX needs SciPy too; loading it takes a while

    ring = np.where(np.isinf(period), 0, period)
    wrap = np.where(ring > 0, ring, 1)
    places, others = (np.where(ring > 0, x % wrap % wrap, x) for x in (places, others))
    tree = KDTree(others, boxsize=ring)
    distance *= 1 + 1e-5  # a rounding: beyond, weights are 0
    counts = tree.query_ball_point(places, distance, return_length=True, workers=-1)
    length = -(-max(1, int(np.max(counts))) // STEP) * STEP
    _, indices = tree.query(places, k=length, distance_upper_bound=distance, workers=-1)
    return np.sort(indices, axis=1).astype(np.int32)
