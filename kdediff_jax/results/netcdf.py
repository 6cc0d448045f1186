"""Data sets as NetCDF files: made, written whole or not at all, and read back."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import xarray as xr

FORMAT = "kdediff_jax result"
FORMAT_VERSION = 1

Variable = tuple[tuple[str, ...], ArrayLike, Mapping[str, str | int | float]]


def dataset(
    variables: Mapping[str, Variable],
    attrs: Mapping[str, str | int | float],
    coords: Mapping[str, Variable] | None = None,
) -> "xr.Dataset":
    """Collect arrays into a labelled data set that `write` accepts.

    Args:
        variables: For each name its dimension names, its values and its attributes (``long_name``,
            ``units``).
        attrs: Attributes of the whole file, usually `provenance`.
        coords: Coordinates, given like the variables.

    Returns:
        The data set, marked as one of this package's.

    Raises:
        TypeError: If an attribute is not a string or a number.
        ValueError: If the values do not have as many axes as dimension names, or sizes disagree.
        ImportError: If xarray, h5netcdf or h5py is not installed.
    """
    xr = _xarray()
    _check_attributes("attrs", attrs)
    entries = {}
    for name, (dims, values, its_attrs) in {**variables, **(coords or {})}.items():
        _check_attributes(name, its_attrs)
        array = np.asarray(values)
        if array.ndim != len(dims):
            raise ValueError(
                f"{name}: expected the dimensions {tuple(dims)}, got shape {array.shape}"
            )
        entries[name] = (tuple(dims), array, dict(its_attrs))
    marked = {"format": FORMAT, "format_version": FORMAT_VERSION, **attrs}
    return xr.Dataset(
        {name: entries[name] for name in variables},
        {name: entries[name] for name in coords or {}},
        marked,
    )


def prepare_output(path: str | os.PathLike[str], *, force: bool) -> Path:
    """Make sure, before a run, that its result can be written; creates the parent folder.

    Args:
        path: Where the result is to go.
        force: Whether a file already there may be replaced.

    Returns:
        The path.

    Raises:
        FileExistsError: If the file exists and ``force`` is not set.
        IsADirectoryError: If the path is a folder.
        NotADirectoryError: If something above it is not a folder.
        PermissionError: If the folder cannot be created or written.
    """
    target = Path(path)
    for parent in reversed(target.parents):
        if parent.exists() and not parent.is_dir():
            raise NotADirectoryError(f"cannot write {target}: {parent} is not a folder")
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a folder")
    _refuse_existing(target, force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise PermissionError("no write permission")
        # Asking is not enough (root, quotas): the run will need a temporary file here.
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise PermissionError(f"cannot write {target}: folder {target.parent}: {error}") from error
    return target


def write(ds: "xr.Dataset", path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write a data set as compressed NetCDF, whole or not at all.

    The file is written beside its target under a temporary name and then renamed, so a reader never
    meets half of one and an interrupted run leaves an older file untouched.

    Args:
        ds: The data set, as from `dataset`.
        path: Where to write; the parent folder is created.
        force: Whether a file already there may be replaced.

    Returns:
        The path.

    Raises:
        ValueError: If the data set was not made by `dataset`.
        OSError: As for `prepare_output`.
        ImportError: If xarray, h5netcdf or h5py is not installed.
    """
    _xarray()
    if ds.attrs.get("format") != FORMAT:
        raise ValueError(
            f"ds: expected a data set made by results.dataset, got attributes {list(ds.attrs)}"
        )
    target = prepare_output(path, force=force)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    encoding = {name: _encoding(variable) for name, variable in ds.variables.items()}
    try:
        ds.to_netcdf(partial, engine="h5netcdf", encoding=encoding)
        _refuse_existing(target, force)
        os.replace(partial, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
    return target


def read(path: str | os.PathLike[str]) -> "xr.Dataset":
    """Read a result back into memory.

    Args:
        path: A file made by `write`.

    Returns:
        The data set as it was given to `write`: same values, dtypes and attributes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not NetCDF, not one of this package's, or of a newer format.
        ImportError: If xarray, h5netcdf or h5py is not installed.
    """
    xr = _xarray()
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"no such result file: {source}")
    try:
        # Times are model times: a unit such as "days" must not turn them into calendar objects.
        ds = xr.load_dataset(source, engine="h5netcdf", decode_times=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{source} is not a NetCDF-4 file: {error}") from error
    for attributes in (ds.attrs, *(variable.attrs for variable in ds.variables.values())):
        attributes.update({k: v.item() for k, v in attributes.items() if isinstance(v, np.generic)})
    if ds.attrs.get("format") != FORMAT:
        raise ValueError(f"{source} is a NetCDF file, but not one written by kdediff_jax")
    if ds.attrs.get("format_version", 0) > FORMAT_VERSION:
        raise ValueError(
            f"{source} has format version {ds.attrs['format_version']}, "
            f"this kdediff_jax reads up to {FORMAT_VERSION}"
        )
    return ds


def _xarray() -> Any:
    try:
        import h5netcdf  # noqa: F401
        import h5py  # noqa: F401  (h5netcdf's writer, which it does not itself require)
        import xarray
    except ImportError as error:
        raise ImportError(
            'results need xarray, h5netcdf and h5py: pip install "kdediff_jax[results]"'
        ) from error
    return xarray


def _refuse_existing(target: Path, force: bool) -> None:
    if target.exists() and not force:
        raise FileExistsError(f"{target} exists; choose another name or pass --force (force=True)")


def _encoding(variable: "xr.Variable") -> dict[str, object]:
    if variable.dtype.kind not in "biuf":
        return {}
    compression = {"zlib": True, "complevel": 4, "shuffle": True} if variable.ndim else {}
    # No fill value: NaN is a result here, not a gap, and integers must come back as integers.
    return {"_FillValue": None, **compression}


def _check_attributes(owner: str, attrs: Mapping[str, object]) -> None:
    for key, value in attrs.items():
        plain = isinstance(value, str | int | float | np.integer | np.floating)
        if not plain or isinstance(value, bool):
            raise TypeError(
                f"attribute {key!r} of {owner}: expected a string or a number, got {value!r}"
            )
