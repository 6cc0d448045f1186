"""Vectors of a run as a data set of named fields on their own dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .._words import counted
from .netcdf import Variable, dataset

if TYPE_CHECKING:
    import xarray as xr

    from ..fields import StateSpace

LEADING = ((), ("time",), ("time", "member"))


def field_dataset(
    space: StateSpace,
    arrays: Mapping[str, ArrayLike],
    *,
    times: ArrayLike | None = None,
    attrs: Mapping[str, str | int | float] | None = None,
) -> xr.Dataset:
    """Collect means, spreads and ensembles of a run as fields with named dimensions.

    Args:
        space: the fields.
        arrays: by name what is stored: [d], a series [t d] or a series of ensembles [t n d], such
            as `{"mean": result.mean, "spread": result.spread}`. The field `temperature` becomes
            `temperature_mean` and `temperature_spread`; with the name "" just `temperature`.
        times: model time of every row; 0, 1, 2, ... by default.
        attrs: of the whole, such as `provenance`.

    Returns:
        The data set, which `write` accepts. Dimensions of one name must be the same in all fields.

    Raises:
        ValueError: shapes that do not fit, or fields whose dimensions of one name differ.
        ImportError: xarray, h5netcdf or h5py is not installed.
    """
    variables: dict[str, Variable] = {}
    lengths: set[int] = set()
    for label, values in arrays.items():
        array = np.asarray(values)
        if not 1 <= array.ndim <= 3 or array.shape[-1] != space.size:
            raise ValueError(
                f"{label}: expected shape ({space.size},), (t, {space.size}) or "
                f"(t, n, {space.size}), got {array.shape}"
            )
        lead = LEADING[array.ndim - 1]
        lengths |= set(array.shape[:1]) if lead else set()
        for name, variable in split_fields(space, label, array, lead):
            variables[f"{name}_{label}" if label else name] = variable
    coordinates = field_coordinates(space, LEADING[-1])
    if lengths:
        rows = np.arange(max(lengths)) if times is None else np.asarray(times)
        coordinates["time"] = (("time",), rows, {})
    clash = set(variables) & {*coordinates, *LEADING[-1]}
    if clash:
        raise ValueError(f"arrays: expected names that are no dimensions, got {sorted(clash)}")
    return dataset(variables, attrs or {}, coordinates)


def split_fields(
    space: StateSpace,
    label: str,
    array: np.ndarray,
    lead: tuple[str, ...],
    attrs: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, Variable]]:
    """Yield the fields of an array [*lead d] by name, each on its own dimensions.

    Args:
        space: the fields.
        label: of the array, for errors.
        array: coordinates along the last axis.
        lead: dimensions of the axes before.
        attrs: of every field; its own units and name are added.

    Raises:
        ValueError: another number of coordinates.
    """
    if array.shape[-1:] != (space.size,):
        expected = counted(space.size, "coordinate")
        raise ValueError(f"{label}: expected {expected}, got shape {array.shape}")
    about = dict(attrs or {})
    for name, field in zip(space.names, space.fields, strict=True):
        own = array[..., list(space.columns(name))]
        own = own.reshape((*array.shape[:-1], *field.shape))
        parts = [about.get("long_name"), field.long_name or (about and name)]
        attributes = {"units": field.units, "long_name": " of ".join(filter(None, parts))}
        kept = about | {key: text for key, text in attributes.items() if text}
        yield name, ((*lead, *field.names), own, kept)


def field_coordinates(space: StateSpace, taken: Sequence[str]) -> dict[str, Variable]:
    """Return the coordinates of all fields' dimensions.

    Args:
        space: the fields.
        taken: names of other dimensions, which no field may have.

    Raises:
        ValueError: a name that is taken, or one with other coordinates in another field.
    """
    found: dict[str, Variable] = {}
    for name, field in zip(space.names, space.fields, strict=True):
        for dim, values in field.dims:
            if dim in taken:
                raise ValueError(f"{name}: expected other dimensions than {taken}, got {dim}")
            if dim in found and tuple(np.asarray(found[dim][1]).tolist()) != values:
                raise ValueError(
                    f"{dim}: expected the same coordinates in all fields, not in {name}"
                )
            found[dim] = ((dim,), np.asarray(values), {})
    return found
