"""A filter's state in a file: stop here, go on in another process, to the same bits."""

from __future__ import annotations

from pathlib import Path

from . import _archives, _files
from .clock import Clock, Pair
from .runs import FilterState, checked_state

KIND = _archives.Kind("kdediff_jax state", 1, "a filter's state")
_PAIR = Pair(0, 0)
STRUCTURE = FilterState(0, 0, 0, Clock(_PAIR, _PAIR, _PAIR), 0)  # pyright: ignore[reportArgumentType]


def save_state(state: FilterState, path: _files.AnyPath) -> Path:
    """Write a state into one file, whole or not at all.

    The file has a version and checksums, and needs no pickle: reading one runs no code. What a
    state does not have, it does not have either: dynamics, observation and scheme.

    Args:
        state: of `init`, `cycle`, `assimilate` or `resume`.
        path: the file, replaced if it is there; its folder is created.

    Returns:
        The path as it was given.

    Raises:
        TypeError: `state` is no `FilterState`.
        OSError: it cannot be written, such as on a full disk; an older file is left as it was.
    """
    checked_state(state)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return _archives.write(path, KIND, {}, state)


def load_state(path: _files.AnyPath) -> FilterState:
    """Read a state back, bit for bit, to go on with `cycle`, `resume` or `forecast`.

    Args:
        path: a file of `save_state`; never changed here.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged, no file of `save_state` or of a newer version; or
            the state is in float64, and this process has `jax_enable_x64` off.
    """
    return _archives.read(path, KIND, STRUCTURE)[1]
