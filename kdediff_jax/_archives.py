"""Pytrees of arrays in one file: versioned, sealed, restored bit for bit, without pickle.

The file is an .npz of NumPy with a header in JSON, and the SHA-256 of all of it behind the end.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import _files
from ._fingerprints import bits, is_key

Header = dict[str, Any]


class Kind(NamedTuple):
    """A kind of files.

    Attributes:
        format: its name in the header.
        version: the newest version, which is the one that is written.
        words: what an error calls it, such as "a filter's state".
    """

    format: str
    version: int
    words: str


def write(path: _files.AnyPath, kind: Kind, header: Header, tree: Any) -> Path:
    """Put a pytree of arrays, and a header, in the place of the file, in one step.

    Args:
        path: the file; its folder must exist.
        kind: of the file.
        header: what JSON can hold.
        tree: arrays, random keys among them.

    Raises:
        OSError: it cannot be written; an older file is left as it was.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    arrays = {jax.tree_util.keystr(where): bits(leaf) for where, leaf in leaves}
    fields = [_described(jax.tree_util.keystr(where), leaf) for where, leaf in leaves]
    own = {"format": kind.format, "version": kind.version, "fields": fields}
    content = io.BytesIO()
    values = {f"leaf_{i}": array for i, array in enumerate(arrays.values())}
    text = json.dumps({**own, **header})
    np.savez(content, header=np.array(text), **values)  # pyright: ignore[reportArgumentType]
    whole = content.getbuffer()
    return _files.replace(path, whole, _files.seal(whole))


def read(path: _files.AnyPath, kind: Kind, like: Any, argument: str = "path") -> tuple[Header, Any]:
    """Return the header and the pytree of a file.

    Args:
        path: the file.
        kind: of the file.
        like: a pytree of the structure that it must have; its leaves do not matter.
        argument: its name in an error.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, of another kind, or newer; or it needs float64, or a generator
            of random numbers, that this process does not have. The file is left as it is.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"{argument}: no such file: {source}")
    if not _files.is_sealed(source):
        raise ValueError(f"{argument}: {source} is truncated, or is not {kind.words}: no seal")
    if _files.is_broken(source):
        raise ValueError(
            f"{argument}: {source} is damaged: its bytes are not those that were written"
        )
    try:
        header, arrays = _loaded(source, kind)
        structure = jax.tree.structure(like)
        names = [jax.tree_util.keystr(k) for k, _ in jax.tree_util.tree_leaves_with_path(like)]
        fields = header["fields"]
        if [field["name"] for field in fields] != names:
            raise ValueError(f"it has {[field['name'] for field in fields]}, expected {names}")
        leaves = [_restored(f, a) for f, a in zip(fields, arrays, strict=True)]
    except (AttributeError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{argument}: {source} is not {kind.words}: {error}") from error
    return header, jax.tree.unflatten(structure, leaves)


def _described(name: str, leaf: Any) -> Header:
    """Return what the header says of an array."""
    array = bits(leaf)
    return {
        "name": name,
        "dtype": str(array.dtype),
        "shape": array.shape,
        "generator": str(jax.random.key_impl(leaf)) if is_key(leaf) else None,
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }


def _loaded(source: Path, kind: Kind) -> tuple[Header, list[np.ndarray]]:
    """Return the header and the arrays as NumPy reads them."""
    if not zipfile.is_zipfile(source):
        with open(source, "rb") as file:
            of_results = file.read(4) == b"\x89HDF"
        raise ValueError("it is a NetCDF file" if of_results else "it is no archive of NumPy")
    with np.load(source, allow_pickle=False) as archive:
        header = json.loads(archive["header"].item())
        if header["format"] != kind.format:
            raise ValueError(f"its format is {header['format']!r}")
        if header["version"] > kind.version:
            raise ValueError(
                f"its version is {header['version']}, this kdediff_jax reads up to {kind.version}"
            )
        return header, [archive[f"leaf_{i}"] for i in range(len(header["fields"]))]


def _restored(field: Header, array: np.ndarray) -> Any:
    """Return an array as JAX had it."""
    name, dtype = field["name"], field["dtype"]
    if array.dtype.kind == "V":  # bfloat16 and its like lose their name on disk
        array = array.view(dtype)
    if str(array.dtype) != dtype or array.shape != tuple(field["shape"]):
        raise ValueError(f"{name} is {array.dtype}{array.shape}, its header says {dtype}")
    if hashlib.sha256(array.tobytes()).hexdigest() != field["sha256"]:
        raise ValueError(f"{name} differs from what was written")
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ValueError(f"{name} is {dtype}: switch on `jax_enable_x64`, as it was when written")
    restored = jnp.asarray(array)
    if field["generator"] is None:
        return restored
    return jax.random.wrap_key_data(restored, impl=field["generator"])
