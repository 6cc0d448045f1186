"""Checksums, so that a damaged file is never read as data.

Each variable has one, which says what is damaged and outlives a copy by another program. The file's
bytes have one as well, behind the end of what HDF5 reads: a flipped bit in its tables can make
HDF5 loop for ever, so the bytes are checked before it sees them.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

ATTRIBUTES = ""  # under this name stands the checksum of the file's own attributes


def checksums(ds: "xr.Dataset") -> dict[str, str]:
    """Return a checksum by variable, and one of the attributes of the whole.

    That of a variable is of its dimensions, shape, kind, values and attributes: SHA-256, of which
    the first 64 bits are kept.
    """
    whole = [sorted(str(name) for name in ds.coords), _plain(ds.attrs)]
    found = {ATTRIBUTES: _digest(whole, b"")}
    return found | {str(name): _of_variable(variable) for name, variable in ds.variables.items()}


def first_difference(stored: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """Return in words what two tables of checksums do not agree on, None where they are equal."""
    for name in (*stored, *found):
        if stored.get(name) != found.get(name):
            return repr(name) if name else "the file's attributes"
    return None


def _of_variable(variable: "xr.Variable") -> str:
    values = variable.values
    if values.dtype.kind in "OU":  # how long the longest text is, is no part of it
        kind, content = "text", json.dumps(values.tolist(), default=str).encode()
    else:
        kind, content = values.dtype.str, np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    about = [kind, list(map(str, variable.dims)), list(values.shape), _plain(variable.attrs)]
    return _digest(about, content)


def _digest(about: object, content: Any) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    digest.update(content)
    return digest.hexdigest()[:16]


def _plain(attributes: Mapping[Any, Any]) -> dict[str, object]:
    """Return attributes with NumPy's numbers as Python's, as a file gives them back.

    Without the fill value: other programs add one whenever they copy floats, and it fills nothing.
    """
    return {
        str(name): value.item() if isinstance(value, np.generic) else value
        for name, value in attributes.items()
        if name != "_FillValue"
    }
