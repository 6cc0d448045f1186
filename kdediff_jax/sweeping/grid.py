"""The grid: its axes as typed arrays, and the list of all their combinations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

Axes = dict[str, np.ndarray]


def check_axes(grid: Mapping[str, Any]) -> Axes:
    """Return the axes as arrays: ints as int32, floats in the default float dtype.

    Args:
        grid: Values by axis name, in the order in which the axes vary (the first slowest).

    Returns:
        The axes, in the same order.

    Raises:
        TypeError: If the grid is not a mapping from names, or an axis is not of numbers.
        ValueError: If the grid or an axis is empty, not 1-D, not finite, or names a value twice.
    """
    if not isinstance(grid, Mapping):
        raise TypeError(f"grid: expected a mapping of axis names to values, got {grid!r}")
    if not grid:
        raise ValueError("grid: expected at least one axis, got none")
    return {name: _axis(name, values) for name, values in grid.items()}


def _axis(name: Any, values: Any) -> np.ndarray:
    if not isinstance(name, str):
        raise TypeError(f"grid: expected axis names that are strings, got {name!r}")
    where = f"grid[{name!r}]"
    try:
        given = np.asarray(values)
    except ValueError as error:  # ragged lists
        raise ValueError(f"{where}: expected a list of numbers, got {values!r}") from error
    if given.ndim == 1 and given.size == 0:
        raise ValueError(f"{where}: expected at least one value, got none")
    if given.dtype.kind not in "iuf":
        raise TypeError(f"{where}: expected ints or floats, got {values!r}")
    if given.ndim != 1:
        raise ValueError(f"{where}: expected a 1-D list of values, got shape {given.shape}")
    if given.dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large for float32: named below
            axis = given.astype(jnp.result_type(float))
        if not np.isfinite(axis).all():
            raise ValueError(f"{where}: expected finite {axis.dtype} values, got {given.tolist()}")
    else:
        bounds = np.iinfo(np.int32)
        if given.min() < bounds.min or given.max() > bounds.max:
            raise ValueError(f"{where}: expected ints that fit into int32, got {given.tolist()}")
        axis = given.astype(np.int32)
    distinct, counts = np.unique(axis, return_counts=True)
    if distinct.size < axis.size:
        twice = distinct[counts > 1].tolist()
        raise ValueError(f"{where}: expected each value once, got {twice} several times")
    return axis


def combinations(axes: Axes) -> Axes:
    """Return, for each axis, its value at every point of the grid; the last axis varies fastest."""
    columns = np.meshgrid(*axes.values(), indexing="ij")
    return {name: column.reshape(-1) for name, column in zip(axes, columns, strict=True)}


def readable(axes: Axes) -> Axes:
    """Return float axes in float64, as they were written: 0.1, not float32's 0.10000000149."""
    return {
        name: np.array([float(str(v)) for v in axis]) if axis.dtype.kind == "f" else axis
        for name, axis in axes.items()
    }


def slice_points(points: Axes, start: int, size: int) -> Axes:
    """Return `size` points from `start` on; beyond the end, the last point again and again."""
    last = len(next(iter(points.values()))) - 1
    index = np.minimum(np.arange(start, start + size), last)
    return {name: column[index] for name, column in points.items()}
