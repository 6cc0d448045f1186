"""One field: its dimensions with their coordinates, its units, where an element lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpy as np

from .._checks import choice


def _as_dims(dims: Any) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Return pairs of a dimension and its coordinates; a size stands for 0, 1, 2, ..."""
    if isinstance(dims, tuple) and all(isinstance(d, tuple) and len(d) == 2 for d in dims):
        dims = dict(dims)
    if not isinstance(dims, Mapping):
        raise TypeError(f"dims: expected a dict of coordinates by dimension, got {dims!r}")
    found = []
    for name, values in dims.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise TypeError(f"dims: expected identifiers as names, got {name!r}")
        array = np.arange(values) if isinstance(values, int) else np.asarray(values)
        if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iuf":
            raise ValueError(f"{name}: expected a size or a vector of numbers, got {values!r}")
        if not np.isfinite(array).all() or len(set(array.tolist())) < array.size:
            raise ValueError(f"{name}: expected finite coordinates that differ, got {values!r}")
        found.append((name, tuple(array.tolist())))
    return tuple(found)


class Field(eqx.Module):
    """A field on a grid, or a single number where it has no dimensions.

    Args:
        dims: coordinates by dimension, in the order of the array's axes: `{"lat": lats, "lon":
            lons}`. A size stands for 0, 1, 2, ...
        units: such as "K", for labels and files.
        long_name: what it is, for files.

    Raises:
        TypeError: dimensions that are no dict by name, units that are no string.
        ValueError: coordinates that are empty, not finite, or repeat a value.
    """

    dims: tuple[tuple[str, tuple[float, ...]], ...] = eqx.field(
        static=True, converter=_as_dims, default=()
    )
    units: str = eqx.field(static=True, default="", kw_only=True)
    long_name: str = eqx.field(static=True, default="", kw_only=True)

    def __check_init__(self) -> None:
        """Check the texts."""
        for name in ("units", "long_name"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name}: expected a string, got {getattr(self, name)!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return tuple(name for name, _ in self.dims)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(len(values) for _, values in self.dims)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def coordinates(self, name: str) -> tuple[float, ...]:
        """Return the coordinates of a dimension; ValueError where there is none of that name."""
        choice("dimension", name, self.names)
        return dict(self.dims)[name]

    def elements(self, where: Mapping[str, Any]) -> np.ndarray:
        """Return the flat indices of the elements chosen, in the order of the axes.

        Args:
            where: by dimension a coordinate or several; all of a dimension that is not named.

        Raises:
            ValueError: a dimension or a coordinate that the field does not have.
        """
        for name in where:
            choice("dimension", name, self.names)
        chosen = [
            [self._place(name, each) for each in np.atleast_1d(where[name]).tolist()]
            if name in where
            else range(len(values))
            for name, values in self.dims
        ]
        grid = np.meshgrid(*chosen, indexing="ij") if chosen else []
        if not grid:
            return np.zeros(1, int)
        return np.ravel_multi_index(tuple(g.ravel() for g in grid), self.shape)

    def _place(self, name: str, coordinate: float) -> int:
        """Return the index of a coordinate, known to a rounding of float32."""
        values = np.asarray(self.coordinates(name), float)
        nearest = int(np.argmin(np.abs(values - coordinate)))
        if not np.isclose(values[nearest], coordinate, rtol=1e-6, atol=0):
            raise ValueError(
                f"{name}: expected one of the field's coordinates, got {coordinate:g}; the nearest "
                f"is {values[nearest]:g}"
            )
        return nearest
