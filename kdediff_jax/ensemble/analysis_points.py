r"""Where local analyses are made, if not at every coordinate.

The transform of a local analysis varies as smoothly as the taper that makes it, so neighbours can
share one. A coordinate j takes the weights of a few points p, sum_p a_jp w_p:

* `AnalysisBlocks` (local patches, Ott et al. 2004, Tellus A 56, 415): one point in the middle of
  a block of coordinates;
* `AnalysisGrid` (Yang, Kalnay, Hunt and Bowler 2009, Q. J. R. Meteorol. Soc. 135, 251): weights on
  a coarser grid, interpolated linearly along each axis from 2^axes points.

LETKF interpolates its transform, the matrix [N N] that takes forecast anomalies to members. LEnKPF
interpolates that of its Kalman share, and the log-weights of the rest, which are linear in the
taper: it weighs by an interpolated taper. Each coordinate's flow stays its own.

Both know positions and not indices, so that several fields on one grid share their points, and
scattered coordinates have some, too. The points are found once, when a filter is made.
"""

from __future__ import annotations

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import concrete, positive
from .._printing import printed
from .._typing import Array, Float, Int, Number, tunable
from .._words import counted
from .neighbours import Interpolation

ROUNDING = 1e-6  # of a cell: positions on its edge belong to the cell that begins there


class PlacedPoints(NamedTuple):
    """The points of one set of coordinates.

    Attributes:
        positions: of the points [p a].
        indices: the points that every coordinate with a place uses [s c].
        weights: of those points, with sum 1 [s c].
    """

    positions: Float[Array, "p a"]
    indices: Int[Array, "s c"]
    weights: Float[Array, "s c"]

    def __repr__(self) -> str:
        """Say how many there are."""
        return f"PlacedPoints(positions={getattr(self.positions, 'shape', None)})"

    def with_others(self, more: int, dtype: jnp.dtype) -> Interpolation:
        """Return the same for coordinates behind them, of which each is a point of its own."""
        c, p = self.indices.shape[1], self.positions.shape[0]
        own = jnp.zeros((more, c), dtype)
        own = own if more == 0 else own.at[:, 0].set(1)
        indices = jnp.broadcast_to(p + jnp.arange(more, dtype=jnp.int32)[:, None], (more, c))
        return Interpolation(
            jnp.concatenate([self.indices, indices]),
            jnp.concatenate([self.weights.astype(dtype), own]),
        )


class AbstractAnalysisPoints(eqx.Module):
    """A rule for the points at which local analyses are made."""

    def __repr__(self) -> str:
        return printed(self)

    @abc.abstractmethod
    def _place(self, state: np.ndarray, period: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the points, and the indices and weights of every coordinate.

        Args:
            state: positions [s a].
            period: of every axis, infinite where it has none.
        """

    def place(self, state: np.ndarray, period: np.ndarray) -> PlacedPoints:
        """Return the points of the coordinates at some positions.

        Raises:
            ValueError: no fewer points than coordinates, or a width for each of other axes.
        """
        points, indices, weights = self._place(state, period)
        if len(points) >= len(state):
            raise ValueError(
                f"points: expected fewer points of analysis than coordinates with a place, got "
                f"{len(points)} by {self!r} for {counted(len(state), 'coordinate')} (try: a larger "
                f"distance, or points=None)"
            )
        with jax.ensure_compile_time_eval():  # lists are made from them, also inside `jit`
            return PlacedPoints(
                jnp.asarray(points), jnp.asarray(indices, jnp.int32), jnp.asarray(weights)
            )


class AnalysisBlocks(AbstractAnalysisPoints):
    """One local analysis for every block of coordinates, as seen from the middle of the block.

    Args:
        width: of a block, in the units of positions: one number, or one per axis. A periodic axis
            has a whole number of blocks, of about that width.

    Raises:
        ValueError: a width that is not positive.
    """

    width: Number = tunable()

    def __check_init__(self) -> None:
        """Check the width."""
        positive("width", self.width)

    def _place(self, state: np.ndarray, period: np.ndarray) -> tuple[np.ndarray, ...]:
        width, origin, wrapped = _cells("width", self.width, state, period)
        cells = np.floor((wrapped - origin) / width + ROUNDING)
        ring = np.where(np.isinf(period), 1, np.round(period / width))
        cells = np.where(np.isinf(period), cells, cells % ring)
        _, inverse, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        inverse = inverse.reshape(-1)
        totals = np.stack([np.bincount(inverse, column) for column in wrapped.T], axis=1)
        return totals / count[:, None], inverse[:, None], np.ones((len(state), 1))


class AnalysisGrid(AbstractAnalysisPoints):
    """Local analyses on a coarser grid, whose weights are interpolated to every coordinate.

    Args:
        spacing: of the grid, in the units of positions: one number, or one per axis. Every axis has
            a whole number of cells, of about that size. A start is the radius of the localisation
            along a line, and half of it on a map.

    Raises:
        ValueError: a spacing that is not positive.
    """

    spacing: Number = tunable()

    def __check_init__(self) -> None:
        """Check the spacing."""
        positive("spacing", self.spacing)

    def _place(self, state: np.ndarray, period: np.ndarray) -> tuple[np.ndarray, ...]:
        spacing, origin, wrapped = _cells("spacing", self.spacing, state, period)
        extent = np.where(np.isinf(period), wrapped.max(axis=0) - origin, period)
        count = np.maximum(1, np.round(extent / spacing))
        step = np.where(extent > 0, extent / count, 1)
        along = (wrapped - origin) / step
        first = np.clip(np.floor(along + ROUNDING), 0, count - 1)
        part = np.clip(along - first, 0, 1)
        part = np.where(part < ROUNDING, 0, np.where(part > 1 - ROUNDING, 1, part))
        corners = np.indices((2,) * state.shape[1]).reshape(state.shape[1], -1).T  # [c a]
        nodes = first[:, None] + corners[None]
        nodes = np.where(np.isinf(period), nodes, nodes % count)
        weights = np.prod(np.where(corners[None] == 1, part[:, None], 1 - part[:, None]), axis=2)
        # what has no weight is no point: its place is taken by one that is used
        used, inverse = np.unique(nodes[weights > 0], axis=0, return_inverse=True)
        indices = np.zeros(weights.shape, int)
        indices[weights > 0] = inverse.reshape(-1)
        return origin + used * step, indices, weights


def _cells(
    name: str, size: Number, state: np.ndarray, period: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the size of cells that fit, where they begin, and the positions within the period."""
    known = concrete(size)
    if known is None or known.shape not in ((), period.shape):
        got = "one that is traced" if known is None else f"shape {known.shape}"
        raise ValueError(
            f"{name}: expected one known number, or one for each of "
            f"{counted(len(period), 'axis', 'axes')}, got {got}"
        )
    known = np.broadcast_to(known.astype(float), period.shape)
    ring = np.isfinite(period)
    whole = np.where(ring, period, 1)
    wrapped = np.where(ring, state % whole % whole, state)
    fitting = whole / np.maximum(1, np.round(whole / known))
    return np.where(ring, fitting, known), np.where(ring, 0, wrapped.min(axis=0)), wrapped
