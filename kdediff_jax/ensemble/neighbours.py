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

from .._typing import Array, Bool, Float, Int

AT_ONCE = 64  # coordinates of a localised analysis, where each has a decomposition of its own
SAMPLED = 1000  # coordinates whose neighbours are counted
STEP = 8  # lengths of lists are its multiples: a radius a little larger compiles nothing new


class Neighbours(NamedTuple):
    """The measurements near a coordinate, or near each of several.

    Attributes:
        weights: of the measurements listed [*d k].
        indices: which they are [*d k]; None for all of them, in order.
    """

    weights: Float[Array, "*d k"]
    indices: Int[Array, "*d k"] | None = None

    def of(self, values: Float[Array, "m *s"]) -> Float[Array, "*d k *s"]:
        """Return the values of the measurements listed."""
        return values if self.indices is None else values[self.indices]


def each_neighbourhood(
    function: Callable[..., Any], near: tuple[Neighbours, ...], *rows: Array
) -> Any:
    """Return a function of every coordinate's neighbours and rows.

    Some coordinates are taken at once, to bound memory.

    Args:
        function: of the `Neighbours` of one coordinate, and of its rows.
        near: one after the other, for some coordinates each.
        rows: of all coordinates [d ...].
    """
    found, start = [], 0
    for group in near:
        end = start + group.weights.shape[0]
        each = group, *(row[start:end] for row in rows)
        found.append(lax.map(lambda row: function(*row), each, batch_size=AT_ONCE))
        start = end
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)


def reach(near: tuple[Neighbours, ...], measured: Bool[Array, " m"]) -> Float[Array, " d"]:
    """Return the largest weight that a measured component has for each coordinate."""
    return jnp.concatenate(
        [jnp.max(jnp.where(group.of(measured), group.weights, 0), axis=1) for group in near]
    )


class NeighbourLists(NamedTuple):
    """Who is near whom, as far as a radius reaches.

    Attributes:
        measured: measurements near each coordinate [d k]; m fills up a list.
        sample: some coordinates [s], all of a few, from which the number of coordinates near one is
            found in the mean.
        around: coordinates near each of those [s l]; d fills up a list.
        radius: the largest that the lists serve.
    """

    measured: Int[Array, "d k"]
    sample: Int[Array, " s"]
    around: Int[Array, "s l"]
    radius: Float[Array, ""]

    def __repr__(self) -> str:
        """Say how long the lists are."""
        return f"NeighbourLists(measured={getattr(self.measured, 'shape', None)})"


def neighbour_lists(
    state: np.ndarray, measured: np.ndarray, distance: float, period: np.ndarray, radius: float
) -> NeighbourLists | None:
    """Return the lists, or None where tables are cheaper.

    Args:
        state: places of the coordinates [d a].
        measured: places of the measurements [m a].
        distance: how far the radius reaches.
        period: of every axis, infinite where it has none.
        radius: that of the localisation.
    """
    near = _nearest(state, measured, distance, period)
    if 2 * near.shape[1] > measured.shape[0]:
        return None
    d = state.shape[0]
    sample = np.unique(np.linspace(0, d - 1, SAMPLED).astype(np.int32))
    around = _nearest(state[sample], state, distance, period)
    near, sample, around = (jnp.asarray(indices) for indices in (near, sample, around))
    return NeighbourLists(near, sample, around, jnp.asarray(radius))


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
