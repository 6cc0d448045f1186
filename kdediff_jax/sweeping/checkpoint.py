"""The file that an interrupted sweep goes on from: written whole, never overwritten by another."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import _files
from .._fingerprints import HINT
from .._fingerprints import refuse_other as refuse
from .grid import Axes

FORMAT = "kdediff_jax sweep"
FORMAT_VERSION = 2  # 2: says which function it is of

Header = dict[str, Any]
# What must agree, in the order in which a difference is reported.
_IDENTITY = ("axes", "fingerprint", "tree", "leaves", "num_devices", "function", "batch_size")


def identity(axes: Axes, fingerprint: str, shapes: Any, num_devices: int, function: str) -> Header:
    """Describe a sweep, all but its batch size, as JSON gives it back.

    Args:
        axes: The grid.
        fingerprint: What the user wants to agree as well.
        shapes: Shapes and dtypes of the scores of one point.
        num_devices: Devices that share a batch.
        function: What the function does, see `Program.identity`.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    header = {
        "axes": [[name, str(axis.dtype), axis.tolist()] for name, axis in axes.items()],
        "fingerprint": fingerprint,
        "tree": str(tree),
        "leaves": [
            [jax.tree_util.keystr(path), str(leaf.dtype), leaf.shape] for path, leaf in leaves
        ],
        "num_devices": num_devices,
        "function": function,
    }
    return json.loads(json.dumps(header))


def write(path: Path, header: Header, finished: int, leaves: list[np.ndarray]) -> None:
    """Put the results of the finished batches in the place of the file, in one step."""
    own = {"format": FORMAT, "version": FORMAT_VERSION, "finished_batches": finished}
    total = _num_points(header)
    known = min(finished * header["batch_size"], total)
    arrays = {f"leaf_{i}": leaf[:known] for i, leaf in enumerate(leaves)}
    content = io.BytesIO()
    np.savez(content, header=np.array(json.dumps({**header, **own})), **arrays)  # pyright: ignore[reportArgumentType]
    _files.replace(path, content.getbuffer())


def read(path: Path) -> tuple[Header, list[np.ndarray]] | None:
    """Return the header and the finished results; None if there is no file.

    Raises:
        ValueError: If the file is not a sweep's checkpoint, or is damaged.
    """
    if not path.exists():
        return None
    if not zipfile.is_zipfile(path):
        raise ValueError(f"checkpoint: {path} is damaged (truncated) or no .npz file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive["header"].item())
            if header["format"] != FORMAT:
                raise KeyError(f"format {header['format']!r}")
            if header["version"] > FORMAT_VERSION:
                version = header["version"]
                raise ValueError(f"version {version}, this one reads up to {FORMAT_VERSION}")
            if header["version"] < 2:
                raise ValueError("it is of an older kdediff_jax and does not say of which function")
            leaves = [archive[f"leaf_{i}"] for i in range(len(header["leaves"]))]
            known = min(header["finished_batches"] * header["batch_size"], _num_points(header))
            for i, (name, dtype, shape) in enumerate(header["leaves"]):
                if leaves[i].dtype.kind == "V":  # bfloat16 and its like lose their name on disk
                    leaves[i] = leaves[i].view(dtype)
                if str(leaves[i].dtype) != dtype or leaves[i].shape != (known, *shape):
                    raise ValueError(f"values{name} do not fit its header")
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"checkpoint: {path} is damaged: {error}") from error
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"checkpoint: {path} is not a sweep's checkpoint: {error}") from error
    return header, leaves


def refuse_other(path: Path, stored: Header, wanted: Header) -> None:
    """Raise ValueError, naming file and difference, if the file belongs to another sweep."""
    for key in _IDENTITY:
        if key in wanted and stored.get(key) != wanted[key]:
            there, here = _first_difference(key, stored.get(key), wanted[key])
            refuse(path, "sweep", key, there, here, HINT if key == "function" else "")


def _first_difference(key: str, there: Any, here: Any) -> tuple[Any, Any]:
    """Narrow lists down to the entries that differ, unless their lengths do."""
    if key not in ("axes", "leaves") or not isinstance(there, list) or len(there) != len(here):
        return there, here
    return next((a, b) for a, b in zip(there, here, strict=True) if a != b)


def _num_points(header: Header) -> int:
    return int(np.prod([len(values) for _, _, values in header["axes"]]))
