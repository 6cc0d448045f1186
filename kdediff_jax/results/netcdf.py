"""Data sets as NetCDF files: made, written whole or not at all, and read back."""

import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _files
from .checksums import checksums, first_difference

if TYPE_CHECKING:
    import xarray as xr

FORMAT = "kdediff_jax result"
FORMAT_VERSION = 2  # 2: with checksums
CHECKSUMS = "checksums"  # their attribute, which only `write` and `read` see

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
        The data set, marked as one of this package's. Floats of less than 32 bits, which NetCDF
        does not know, are widened to float32, so that every reader can read them.

    Raises:
        TypeError: If an attribute is not a string or a number, or values are neither booleans,
            real numbers of at most 64 bits nor strings.
        ValueError: If the values do not have as many axes as dimension names, or sizes disagree.
        ImportError: If xarray, h5netcdf or h5py is not installed.
    """
    xr = _xarray()
    _check_attributes("attrs", attrs)
    entries = {}
    for name, (dims, values, its_attrs) in {**variables, **(coords or {})}.items():
        _check_attributes(name, its_attrs)
        array = _storable(name, np.asarray(values))
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

    The file is made in memory, read back and compared, written beside its target under a temporary
    name, brought onto the disk and then renamed. So a reader never meets half of one, an
    interrupted run or a full disk leaves an older file untouched, and what NetCDF would not give
    back is refused. Checksums of every variable and of the whole go with it.

    Args:
        ds: The data set, as from `dataset`.
        path: Where to write; the parent folder is created. A link stays one.
        force: Whether a file already there may be replaced.

    Returns:
        The path.

    Raises:
        TypeError: If a variable's values are none of those that `dataset` takes.
        ValueError: If the data set was not made by `dataset`, or has a name or an attribute that
            NetCDF keeps for itself or would not give back as it is.
        OSError: As for `prepare_output`, and if the disk is full.
        ImportError: If xarray, h5netcdf or h5py is not installed.
    """
    _xarray()
    if ds.attrs.get("format") != FORMAT:
        raise ValueError(
            f"ds: expected a data set made by results.dataset, got attributes {list(ds.attrs)}"
        )
    target = prepare_output(path, force=force)
    content = _serialised(ds)
    _refuse_existing(target, force)
    return _files.replace(target, content, _files.seal(content))


def read(path: str | os.PathLike[str]) -> "xr.Dataset":
    """Read a result back into memory.

    Args:
        path: A file made by `write`.

    Returns:
        The data set as it was given to `write`: same values, dtypes and attributes. Attributes
        that steer a decoding elsewhere (``scale_factor``, ``missing_value``) change no value.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged (a checksum is another, or it cannot be read), not
            NetCDF, not one of this package's, or of a newer format.
        ImportError: If xarray, h5netcdf or h5py is not installed.
    """
    _xarray()
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"no such result file: {source}")
    if _files.is_broken(source):
        raise ValueError(f"{source} is damaged: its bytes are not those that were written")
    ds = _loaded(source, str(source))
    version = ds.attrs.get("format_version", 0)
    if ds.attrs.get("format") != FORMAT:
        raise ValueError(f"{source} is a NetCDF file, but not one written by kdediff_jax")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ValueError(
            f"{source} has format version {version}, this kdediff_jax reads up to {FORMAT_VERSION}"
        )
    if version < 2 and CHECKSUMS not in ds.attrs:  # of an older kdediff_jax, which made none
        return ds
    changed = _difference(ds)
    if changed is not None:
        raise ValueError(f"{source} is damaged, or another program changed it: {changed} differs")
    return ds


def _serialised(ds: "xr.Dataset") -> memoryview:
    """Return the bytes of the file, which are known to give the data set back."""
    for name, variable in ds.variables.items():
        _check_attributes(str(name), variable.attrs)
        if not _is_storable(variable.dtype):
            raise TypeError(f"{name}: expected what `dataset` makes, got dtype {variable.dtype}")
    expected = checksums(ds)
    encoding = {name: _encoding(variable) for name, variable in ds.variables.items()}
    try:
        marked = ds.assign_attrs({CHECKSUMS: json.dumps(expected)})
        content = memoryview(marked.to_netcdf(None, engine="h5netcdf", encoding=encoding))  # pyright: ignore[reportCallIssue, reportArgumentType]
        changed = _difference(_loaded(io.BytesIO(content), "it"))
    except (AttributeError, TypeError, ValueError) as error:  # reserved names, NUL in a text
        raise ValueError(f"ds: expected what NetCDF can hold: {error}") from error
    if changed is not None:
        raise ValueError(f"ds: expected what NetCDF gives back as it is, {changed} would change")
    return content


def _loaded(source: Path | io.BytesIO, name: str) -> "xr.Dataset":
    """Return all of a file, with its attributes as plain numbers and strings."""
    import h5py

    try:
        # h5py says at once, and without a noise, that a file is no HDF5
        h5py.File(source, "r").close()
        # Values are stored as they are: no attribute may turn them into others, or into dates.
        ds = _xarray().load_dataset(
            source, engine="h5netcdf", decode_times=False, mask_and_scale=False
        )
    except Exception as error:  # a flipped bit makes HDF5 and its readers raise anything
        raise ValueError(f"{name} is not a NetCDF-4 file, or is damaged: {error}") from error
    for attributes in (ds.attrs, *(variable.attrs for variable in ds.variables.values())):
        attributes.update({k: v.item() for k, v in attributes.items() if isinstance(v, np.generic)})
    return ds


def _difference(ds: "xr.Dataset") -> str | None:
    """Return what does not have the checksum that goes with it; takes the checksums away."""
    try:
        stored = dict(json.loads(ds.attrs.pop(CHECKSUMS)))
    except (KeyError, TypeError, ValueError):
        return "the list of checksums"
    return first_difference(stored, checksums(ds))


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


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    """Return values in a type that NetCDF and its other readers know, in native byte order."""
    if array.dtype.kind == "O" and all(isinstance(text, str) for text in array.flat):
        array = array.astype(str)
    elif array.dtype.type.__module__ == "ml_dtypes":  # bfloat16, float8, int4, ...
        array = array.astype(np.int8 if "int" in array.dtype.name else np.float32)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not _is_storable(array.dtype):
        raise TypeError(
            f"{name}: expected booleans, real numbers of at most 64 bits or strings, "
            f"got dtype {array.dtype}"
        )
    return array


def _is_storable(dtype: np.dtype) -> bool:
    if dtype.kind == "f":
        return dtype.itemsize in (4, 8)
    return dtype.kind in "biuU"


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
