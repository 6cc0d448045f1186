"""The scores of a sweep as a labelled data set: one dimension per axis of the grid."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .netcdf import dataset

if TYPE_CHECKING:
    import xarray as xr


def sweep_dataset(
    axes: Mapping[str, ArrayLike],
    values: Mapping[str, Any],
    attrs: Mapping[str, str | int | float],
) -> "xr.Dataset":
    """Label the scores of a sweep by the axes of its grid.

    Args:
        axes: Values by axis name, in the order of the scores' leading axes.
        values: Scores by name, ``[*grid ...]``; further axes become the dimensions ``<name>_0``,
            ``<name>_1``. Scores inside a dict or named tuple are named ``<outer>_<inner>``.
        attrs: Attributes of the whole file, usually `provenance`.

    Returns:
        The data set, as `write` accepts it and `read` returns it.

    Raises:
        TypeError: If an attribute is not a string or a number.
        ValueError: If a score's shape does not begin with the grid's, or two names are the same.
        ImportError: If xarray, h5netcdf or h5py is not installed.
    """
    coords = {name: ((name,), np.asarray(axis), {}) for name, axis in axes.items()}
    grid = tuple(axis.size for _, axis, _ in coords.values())
    variables = {}
    for name, array in _named(values):
        if name in variables or name in coords:
            raise ValueError(f"values: expected each name once, got {name!r} twice")
        if array.shape[: len(grid)] != grid:
            raise ValueError(f"{name}: expected a shape that begins with {grid}, got {array.shape}")
        further = tuple(f"{name}_{i}" for i in range(array.ndim - len(grid)))
        variables[name] = ((*coords, *further), array, {})
    return dataset(variables, attrs, coords)


def _named(values: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in values.items():
        inner = value._asdict() if hasattr(value, "_asdict") else value
        if isinstance(inner, Mapping):
            yield from _named(inner, f"{outer}{name}_")
        else:
            yield f"{outer}{name}", np.asarray(value)
