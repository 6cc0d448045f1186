"""The sweep itself: batches of grid points through one compiled program."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from .._checks import count, positive
from .._files import clear_abandoned
from .._interrupts import heard
from . import checkpoint as files
from .grid import check_axes, combinations, readable, slice_points
from .program import Device, Program, Run, choose_batch, every_device
from .result import SweepResult

SAVE_SECONDS = 5.0


@heard()
def sweep(
    run: Run,
    grid: Mapping[str, Any],
    *,
    batch_size: int | None = None,
    memory: float | None = None,
    devices: Sequence[Device] | Mesh | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    fingerprint: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> SweepResult:
    """Run a function at every point of a grid, in batches through one compiled program.

    The first axis varies slowest, so points that share its value share a batch. Put first the axis
    that decides how many solver steps a run takes (the state bandwidth): adaptive solves in one
    batch run in lockstep, and a batch takes as long as its slowest point. Seeds come last.

    A point whose values make no sense to `run` gives whatever `run` gives (NaN, a failed flag) in
    its own slot; the rest is not touched. Another sweep of the same function and batch size
    compiles nothing; the arrays of a function that is an `eqx.Module` are program arguments.

    Args:
        run: Function of one grid point, a dict of 0-d arrays by axis name; returns a dict (any
            pytree) of arrays. Must be jit-able; traced once.
        grid: 1-D values by axis name; all combinations are run. Floats become the default float
            dtype, ints stay ints (int32).
        batch_size: Points per batch over all devices, rounded up to a multiple of their number
            and at most the grid. By default up to 4 per device on CPU; elsewhere, as many as fit
            into memory, which may be all of them: give a smaller one for progress and checkpoints.
        memory: Bytes per device that the choice of the batch size may use. Default: half of what
            the device reports, or 4 GiB; on CPU no limit.
        devices: Devices to spread each batch over, or a mesh of them, each running its own loop,
            and never more than there are points. Those of several processes may be among them
            (`jax.distributed`, `devices=jax.devices()`): then each process makes the same call, all
            return the result, and the first writes the checkpoint. By default all local ones, on
            the CPU one for each core, for which `use_every_core` must come before anything else of
            JAX: a `UserWarning` says if it did not.
        checkpoint: File to keep finished batches in and to go on from: an interrupted sweep loses
            the batch at work and at most 5 seconds. Continued only by the same function (its
            program for XLA, the numbers in it and the arrays that it holds), grid, fingerprint,
            scores, batch size (adopted where none is given) and number of devices, so that the
            result is that of an uninterrupted sweep, bit for bit. Never removed here.
        fingerprint: What else must agree to continue, because the program does not show it: what
            a host callback does or reads, the kind of device, the versions of jaxlib and drivers.
            Settings and data that `run` closes over are in the program, and need not be here.
        progress: Called with the numbers of finished and of all points after each batch.

    Returns:
        Axes, scores, times, batch size and number of devices.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an axis is empty, not 1-D, not finite or repeats a value; if not even one
            point per device fits into `memory`; if `memory` comes with a `batch_size`; if the
            checkpoint is damaged or another sweep's. The file is kept then.
    """
    axes = check_axes(grid)
    points = combinations(axes)
    total = len(next(iter(points.values())))
    if not callable(run):
        raise TypeError(f"run: expected a function of one grid point, got {run!r}")
    if not isinstance(fingerprint, str):
        raise TypeError(f"fingerprint: expected a string, got {fingerprint!r}")
    used = (every_device(total) if devices is None else _devices(devices))[:total]
    batch_size = _checked_batch_size(batch_size, memory, total, len(used))
    began = time.perf_counter()
    program = Program(run, used, points)
    shapes = program.shapes()
    if not jax.tree.leaves(shapes):
        raise ValueError("run: expected at least one score, got none")
    function = "" if checkpoint is None else program.identity()
    header = files.identity(axes, fingerprint, shapes, len(used), function)
    record = _Record(checkpoint, header, shapes, total, batch_size, _writes(used))
    if record.batch_size is None:
        record.batch_size = choose_batch(program, total, used, memory)
    compiled = None if record.complete else program.compile(record.batch_size)
    compiled_at = time.perf_counter()
    record.save()  # an unwritable folder must show before the work
    if compiled is not None:
        _run_batches(compiled, points, record, progress)
    shape = tuple(len(axis) for axis in axes.values())
    values = [leaf.reshape(shape + leaf.shape[1:]) for leaf in record.leaves]
    return SweepResult(
        readable(axes),
        jax.tree.unflatten(jax.tree.structure(shapes), values),
        compile_seconds=compiled_at - began,
        run_seconds=time.perf_counter() - compiled_at,
        batch_size=record.batch_size,
        num_devices=len(used),
    )


def _checked_batch_size(
    batch_size: int | None, memory: float | None, total: int, num_devices: int
) -> int | None:
    """Return the batch size as a multiple of the devices, at most the grid; or None as given."""
    if memory is not None:
        positive("memory", memory)
        if batch_size is not None:
            raise ValueError(f"memory: expected none beside a batch_size, got {memory}")
    if batch_size is None:
        return None
    count("batch_size", batch_size)
    return _whole(min(batch_size, total), num_devices)


def _run_batches(
    compiled: Callable[..., Any],
    points: dict[str, np.ndarray],
    record: _Record,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run the batches that the record does not have."""
    assert record.batch_size is not None
    try:
        while not record.complete:
            start = record.finished * record.batch_size
            out = compiled(slice_points(points, start, record.batch_size))
            record.add([_fetched(leaf) for leaf in jax.tree.leaves(out)])
            if progress is not None:
                progress(min(start + record.batch_size, record.total), record.total)
    finally:  # an interrupt too must not lose what is finished
        record.save()


class _Record:
    """The scores of all points, of which those of `finished` batches are known, and their file."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        header: files.Header,
        shapes: Any,
        total: int,
        batch_size: int | None,
        writes: bool,
    ) -> None:
        self.writes = writes
        self.path = None if path is None else Path(path)
        self.header, self.total, self.batch_size = header, total, batch_size
        leaves = jax.tree.leaves(shapes)
        self.leaves = [np.zeros((total, *leaf.shape), leaf.dtype) for leaf in leaves]
        self.finished, self.saved, self.saved_at = 0, -1, 0.0
        if self.path is not None and writes:
            clear_abandoned(self.path)
        stored = None if self.path is None else files.read(self.path)
        if self.path is not None and stored is not None:
            self._go_on(self.path, *stored)

    def _go_on(self, path: Path, header: files.Header, leaves: list[np.ndarray]) -> None:
        """Take over what a file has, if it is this sweep's."""
        wanted = self.header
        if self.batch_size is not None:
            wanted = {**wanted, "batch_size": self.batch_size}
        files.refuse_other(path, header, wanted)
        self.batch_size = header["batch_size"]
        self.finished = self.saved = header["finished_batches"]
        for mine, theirs in zip(self.leaves, leaves, strict=True):
            mine[: len(theirs)] = theirs

    @property
    def complete(self) -> bool:
        """Whether every batch is known."""
        return self.batch_size is not None and self.finished * self.batch_size >= self.total

    def add(self, batch: list[np.ndarray]) -> None:
        """Take the scores of the next batch, whose points beyond the grid's end are padding."""
        assert self.batch_size is not None
        start = self.finished * self.batch_size
        for mine, theirs in zip(self.leaves, batch, strict=True):
            part = mine[start : start + len(theirs)]
            part[:] = theirs[: len(part)]
        self.finished += 1
        if time.perf_counter() - self.saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write what the file does not have yet; the first time also if that is nothing."""
        if self.path is not None and self.writes and self.saved < self.finished:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            header = {**self.header, "batch_size": self.batch_size}
            files.write(self.path, header, self.finished, self.leaves)
            self.saved = self.finished
        self.saved_at = time.perf_counter()


def _fetched(scores: jax.Array) -> np.ndarray:
    """Return the scores of a batch, those of other processes too."""
    if scores.is_fully_addressable:
        return np.asarray(scores)
    return np.asarray(multihost_utils.process_allgather(scores, tiled=True))


def _writes(devices: tuple[Device, ...]) -> bool:
    """Return whether this process keeps the record: of several that share a sweep, the first."""
    return jax.process_index() == min(device.process_index for device in devices)


def _devices(devices: Sequence[Device] | Mesh) -> tuple[Device, ...]:
    used = tuple(devices.devices.flat if isinstance(devices, Mesh) else devices)
    if not used or not all(isinstance(device, jax.Device) for device in used):
        raise ValueError(f"devices: expected at least one jax device, got {devices!r}")
    if len(set(used)) < len(used):
        raise ValueError(f"devices: expected each device once, got {devices!r}")
    return used


def _whole(batch_size: int, num_devices: int) -> int:
    return math.ceil(batch_size / num_devices) * num_devices
