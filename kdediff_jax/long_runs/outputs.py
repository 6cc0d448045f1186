"""The outputs of a run's cycles: rows of one width, in memory or in a file that only grows."""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from .._fingerprints import is_key

PART = 1 << 22  # bytes read at once where a file is checked


class Layout(NamedTuple):
    """How a cycle's outputs lie in a row.

    Attributes:
        tree: structure of the outputs.
        dtypes: of each leaf, as JAX has it.
        row: of a whole row, a structured dtype with a field for each leaf.
    """

    tree: Any
    dtypes: list[np.dtype]
    row: np.dtype

    @classmethod
    def of(cls, shapes: Any) -> Layout:
        """Return the layout of outputs of these shapes and dtypes.

        Raises:
            TypeError: a random key among them, which has no place in a file of numbers.
        """
        leaves, tree = jax.tree.flatten(shapes)
        if any(is_key(leaf) for leaf in leaves):
            raise TypeError("save: expected arrays of numbers, got a random key (`key_data`)")
        dtypes = [np.dtype(leaf.dtype) for leaf in leaves]
        kinds = [d if d.isbuiltin == 1 else np.dtype(f"u{d.itemsize}") for d in dtypes]
        pairs = enumerate(zip(kinds, leaves, strict=True))
        fields = [(f"leaf_{i}", kind, leaf.shape) for i, (kind, leaf) in pairs]
        return cls(tree, dtypes, np.dtype(fields, align=True))

    def rows(self, leaves: list[np.ndarray]) -> np.ndarray:
        """Return the leaves of some cycles as rows."""
        rows = np.zeros(len(leaves[0]), self.row)
        for i, leaf in enumerate(leaves):
            rows[f"leaf_{i}"] = leaf.view(self.row[f"leaf_{i}"].base)
        return rows

    def outputs(self, rows: np.ndarray) -> Any:
        """Return rows as what they are rows of; nothing is copied."""
        leaves = [rows[f"leaf_{i}"].view(dtype) for i, dtype in enumerate(self.dtypes)]
        return jax.tree.unflatten(self.tree, leaves)


class RowFile:
    """A file of rows that is only added to; what is not known to be whole is cut off.

    Args:
        path: of the file, made if it is not there.
        num_bytes: of it that are known to be good.
        checksum: CRC-32 of them.

    Raises:
        ValueError: it is shorter, or has another checksum: it is damaged. It is left as it is.
    """

    def __init__(self, path: Path, num_bytes: int, checksum: int) -> None:
        self.path, self.file = path, None
        _refuse_damaged(path, num_bytes, checksum)
        self.file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by `close`
        self.cut(num_bytes)

    def cut(self, num_bytes: int) -> None:
        """Forget what is behind the good bytes."""
        if self.file is not None and os.fstat(self.file.fileno()).st_size > num_bytes:
            self.file.truncate(num_bytes)

    def add(self, rows: np.ndarray, checksum: int) -> int:
        """Append rows, and return the checksum of all."""
        assert self.file is not None
        content = rows.view(np.uint8).data.cast("B")
        left = content
        while left:
            left = left[self.file.write(left) :]
        return zlib.crc32(content, checksum)

    def sync(self) -> None:
        """Bring what was added onto the disk."""
        assert self.file is not None
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                self.file.close()


def _refuse_damaged(path: Path, num_bytes: int, checksum: int) -> None:
    size = path.stat().st_size if path.exists() else 0
    if size < num_bytes:
        raise ValueError(
            f"checkpoint: {path} is damaged or missing: {size} bytes, expected {num_bytes}"
        )
    found, left = 0, num_bytes
    if left:
        with open(path, "rb") as file:
            while left and (part := file.read(min(left, PART))):
                found, left = zlib.crc32(part, found), left - len(part)
    if found != checksum:
        raise ValueError(
            f"checkpoint: {path} is damaged: its bytes are not those that were written"
        )
