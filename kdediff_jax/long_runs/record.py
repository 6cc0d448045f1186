"""What a long run has so far: its state and its outputs, in memory or in two files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from .. import _archives, _files
from .._fingerprints import HINT, refuse_other
from .._words import counted
from ..runs import FilterState
from .outputs import Layout, RowFile
from .series import Identity, Measured, Series

KIND = _archives.Kind("kdediff_jax run", 1, "a run's checkpoint")
OUTPUTS = ".outputs"  # behind the checkpoint's name, the file with the outputs
SAVE_SECONDS = 1.0
HINTS = {
    "function": HINT,
    "simulator": ", a digest of its functions, of what they read from outside, and of programs",
}


class Position(NamedTuple):
    """Where a run stands.

    Attributes:
        finished: cycles done.
        state: after them.
        notes: what else a loop keeps of them, such as JSON can hold; None for nothing.
        checksum: of the outputs so far.
    """

    finished: int
    state: FilterState
    notes: Any = None
    checksum: int = 0


class InMemory:
    """Outputs in arrays on the host, made when the first come."""

    def __init__(self, series: Series) -> None:
        self.position, self.total = Position(0, series.state), len(series.ys)
        self._arrays: list[np.ndarray] = []
        self._tree: Any = None

    def add(self, outputs: Any, state: FilterState, notes: Any = None) -> None:
        """Take the outputs of the next cycles, and the state and the notes after them."""
        leaves, self._tree = jax.tree.flatten(outputs)
        if not self._arrays:
            self._arrays = [np.empty((self.total, *x.shape[1:]), x.dtype) for x in leaves]
        start = self.position.finished
        end = start + len(leaves[0])
        for array, leaf in zip(self._arrays, leaves, strict=True):
            array[start:end] = leaf
        self.position = Position(end, state, notes)

    def outputs(self) -> Any:
        """Return the outputs of all cycles."""
        return jax.tree.unflatten(self._tree, self._arrays)


class OnDisk:
    """A checkpoint with the state, written anew each time, and a file of outputs that grows.

    The checkpoint says how many rows of outputs are good. It is written after they are on the disk,
    in one step, so that whenever a process ends the two fit.
    """

    def __init__(self, path: Path, series: Series) -> None:
        self.path, self.total = path, len(series.ys)
        self._identity, shapes = series.described()
        self._layout, self._measured = Layout.of(shapes), Measured(series)
        self._outputs_path = path.with_name(path.name + OUTPUTS)
        self.position = self._found(series)
        self._committed, self._failed = self.position, False
        good = self.position.finished * self._layout.row.itemsize
        if not path.exists():
            self._write()  # an unwritable folder must show before the work
        self._file = RowFile(self._outputs_path, good, self.position.checksum)
        self._saved_at = time.perf_counter()

    def add(self, outputs: Any, state: FilterState, notes: Any = None) -> None:
        """Take the outputs of the next cycles, and the state and the notes after them."""
        rows = self._layout.rows(jax.tree.leaves(outputs))
        with self._explained():
            checksum = self._file.add(rows, self.position.checksum)
        # in one step, whatever interrupts
        self.position = Position(self.position.finished + len(rows), state, notes, checksum)
        if time.perf_counter() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write down where the run stands, if that is not written yet."""
        if self._committed.finished < self.position.finished:
            with self._explained():
                self._file.sync()
                self._write()
            self._committed = self.position
        self._saved_at = time.perf_counter()

    def close(self) -> None:
        """Save what there is; after a failed write give back what was not saved."""
        try:
            if not self._failed:
                self.save()
        finally:
            with contextlib.suppress(OSError):
                self._file.cut(self._committed.finished * self._layout.row.itemsize)
            self._file.close()

    def outputs(self) -> Any:
        """Return the outputs of all cycles, mapped from the file and read where they are used."""
        rows = np.memmap(self._outputs_path, self._layout.row, "r", shape=(self.total,))
        return self._layout.outputs(rows)

    def _write(self) -> None:
        finished, state, notes, checksum = self.position
        progress = {"finished": finished, "checksum": checksum, "notes": notes}
        about = self._identity | self._measured.until(finished)
        _archives.write(self.path, KIND, {"identity": about, **progress}, state)

    def _found(self, series: Series) -> Position:
        """Return where the file says that the run stands, if it is this run's."""
        if not self.path.exists():
            if self._outputs_path.exists():
                raise ValueError(
                    f"checkpoint: {self._outputs_path} is there without {self.path.name}: remove "
                    "it, or give another path"
                )
            return Position(0, series.state)
        header, state = _archives.read(self.path, KIND, series.state, "checkpoint")
        finished = header["finished"]
        self._refuse_other(header["identity"], self._identity)
        if finished > self.total:
            raise ValueError(
                f"checkpoint: {self.path} has {counted(finished, 'cycle')}, more than the "
                f"{self.total} of ys"
            )
        self._refuse_other(header["identity"], self._measured.until(finished), finished)
        return Position(finished, state, header.get("notes"), header["checksum"])

    def _refuse_other(self, there: Identity, here: Identity, rows: int | None = None) -> None:
        for key, value in here.items():
            hint = HINTS.get(key, ", a digest of its numbers")
            hint = hint if rows is None else f", a digest of its first {counted(rows, 'row')}"
            refuse_other(self.path, "run", key, there.get(key), value, hint)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in the error of a failed write what is left, and what to do."""
        try:
            yield
        except OSError as error:
            self._failed = True
            raise OSError(
                error.errno,
                f"{error.strerror or error}: the checkpoint is whole and has "
                f"{self._committed.finished} of {counted(self.total, 'cycle')}; make room, "
                "and the same call goes on from there",
                str(self.path),
            ) from error


def remove_checkpoint(path: _files.AnyPath) -> None:
    """Remove a checkpoint and its outputs, where they are; what is mapped from them stays good.

    Args:
        path: as it was given to `assimilate`.
    """
    target = Path(os.path.realpath(path))
    # in this order: outputs alone would be taken for somebody else's
    for each in (target.with_name(target.name + OUTPUTS), target):
        each.unlink(missing_ok=True)


@contextlib.contextmanager
def recorded(path: _files.AnyPath | None, series: Series) -> Iterator[InMemory | OnDisk]:
    """Keep a run's record, in memory without a path, and save what there is at the end.

    Raises:
        BlockingIOError: another process is at work on the checkpoint.
        ValueError: the checkpoint is damaged, or another run's.
    """
    if path is None:
        yield InMemory(series)
        return
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"checkpoint: expected a file, got the folder {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _files.held(target):
        record = OnDisk(target, series)
        try:
            yield record
        finally:
            record.close()
