"""Files that a program reads and writes: one array each, as NumPy's own format or as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class ProgramCall(NamedTuple):
    """What one run of a program is told.

    Attributes:
        x: the member's state [d].
        t: model time; None for an operator.
        interval: model time to cover; None where nothing is stepped.
        seed: of the program's random numbers, from 0 to 2^31 - 1; None for an operator.
        member: its number.
    """

    x: np.ndarray
    t: float | None
    interval: float | None
    seed: int | None
    member: int

    def fill(self, word: str) -> str:
        """Return a word of the command with the numbers for `{t}` and the others."""
        for name in ("t", "interval", "seed", "member"):
            value = getattr(self, name)
            word = word.replace(f"{{{name}}}", "" if value is None else repr(value))
        return word


def check(name: str, place: Any) -> None:
    """Check what stands for a file: a name within the folder, or a function.

    Raises:
        TypeError: something else.
        ValueError: a path out of the folder.
    """
    if callable(place):
        return
    if not isinstance(place, str) or not place:
        raise TypeError(f"{name}: expected the name of a file or a function, got {place!r}")
    if Path(place).is_absolute() or ".." in Path(place).parts:
        raise ValueError(f"{name}: expected a name within the working folder, got {place!r}")


def write(place: Any, folder: Path, call: ProgramCall) -> None:
    """Write the state into its file, or let the user's function write."""
    if callable(place):
        place(folder, call)
        return
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, call.x, allow_pickle=False)
    else:
        np.savetxt(path, call.x, fmt="%.17g")


def read(place: Any, folder: Path) -> Any:
    """Return the array of a file, or what the user's function reads."""
    if callable(place):
        return place(folder)
    path = folder / place
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    return np.loadtxt(path, ndmin=1, delimiter="," if path.suffix == ".csv" else None)
