"""One compiled program for batches of grid points, and the size of a batch that fits."""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .._fingerprints import digest
from .._interrupts import undisturbed
from .grid import Axes

CPU_POINTS = 4  # per device and batch: a core gains little from more, and lockstep costs
DEFAULT_MEMORY = 4 * 2**30  # bytes per device, where the device does not say

Run: TypeAlias = Callable[[dict[str, Any]], Any]
Device: TypeAlias = Any  # jax.Device is a variable to type checkers


def available_cores() -> int:
    """Return how many cores this process may run on: batch systems give out fewer than all."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def use_every_core() -> bool:
    """Make each CPU core a device of its own, so that a sweep's points run side by side.

    Call it before anything else of JAX, such as the first random key: later it changes nothing.
    `sweep` calls it too. A number of devices that JAX has been told (`jax_num_cpu_devices`,
    `XLA_FLAGS`) stays.

    Returns:
        Whether it came in time, or somebody had decided the number before.
    """
    told = jax.config.jax_num_cpu_devices != -1  # pyright: ignore[reportAttributeAccessIssue]
    if told or "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return True
    cores = available_cores()
    # jaxlib's batched LAPACK calls wait for helpers from the pool of threads that the devices run
    # on: with no more threads than devices all of them may wait, for ever (seen with jaxlib 0.10.2)
    os.environ.setdefault("NPROC", str(2 * cores))
    # those calls come from every device at once, and threads of the library's own fight over the
    # cores: on busy ones a decomposition of 100 x 100 took 60 times as long
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:
        return False
    return True


def every_device(points: int) -> tuple[Device, ...]:
    """Return the devices that a sweep of so many points uses unless it is told which.

    On the CPU each core is one, as on the command line. Where JAX had started with fewer, a
    `UserWarning` says so: the sweep could be several times as fast.
    """
    in_time = use_every_core()
    devices = tuple(jax.local_devices())
    cores = available_cores()
    if not in_time and devices[0].platform == "cpu" and len(devices) < min(cores, points):
        warnings.warn(
            f"sweep uses {len(devices)} of {cores} cores, because JAX had started before: call "
            "kd.use_every_core() first of all, or give devices=jax.local_devices() if it is meant",
            stacklevel=4,
        )
    return devices


class Program:
    """`run` over batches, a share on each device; traced once, compiled once per batch size."""

    def __init__(self, run: Run, devices: tuple[Device, ...], points: Axes):
        # Arrays that `run` holds are arguments: other values of them need no new program.
        self._held, static = eqx.partition(run, eqx.is_array)
        try:
            self._batched = _batched(static, devices)
        except TypeError:  # not hashable, such as a partial with a list
            self._batched = _batched.__wrapped__(static, devices)
        self._num_devices = len(devices)
        self._dtypes = {name: column.dtype for name, column in points.items()}

    def shapes(self) -> Any:
        """Shapes and dtypes of the scores of one point."""
        batch = jax.eval_shape(self._batched, self._held, self._inputs(self._num_devices))
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), batch)

    def identity(self) -> str:
        """Return a digest of what the function computes: its program and the arrays that it holds.

        The program is the one that XLA is given for a point per device, with every number that the
        function read from outside, so that another function, or other data, gives another digest.
        """
        lowered = self._batched.lower(self._held, self._inputs(self._num_devices))
        return digest(lowered.as_text(), self._held)

    def compile(self, batch_size: int) -> Any:
        """Return the executable for batches of this size; jax keeps those it has made."""
        lowered = self._batched.lower(self._held, self._inputs(batch_size))
        compiled = undisturbed(lowered.compile)
        return functools.partial(compiled, self._held)

    def bytes(self, batch_size: int) -> int:
        """Bytes that one device needs for its share of a batch, results included."""
        stats = self.compile(batch_size).func.memory_analysis()
        return 1 if stats is None else stats.temp_size_in_bytes + stats.output_size_in_bytes

    def _inputs(self, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        return {name: jax.ShapeDtypeStruct((size,), d) for name, d in self._dtypes.items()}


@functools.lru_cache(maxsize=16)
def _batched(static: Run, devices: tuple[Device, ...]) -> Any:
    mesh = Mesh(np.array(devices), ("batch",))
    whole, split = PartitionSpec(), PartitionSpec("batch")
    # The inner jit keeps the trace of one point for all batch sizes. shard_map, not a sharded vmap:
    # that would agree across devices, at each step of each loop, whether any point goes on.
    one = jax.jit(lambda held, point: eqx.combine(held, static)(point))
    share = jax.shard_map(
        jax.vmap(one, in_axes=(None, 0)),
        mesh=mesh,
        in_specs=(whole, split),
        out_specs=split,
        check_vma=False,
    )
    return jax.jit(share, in_shardings=tuple(NamedSharding(mesh, s) for s in (whole, split)))


def choose_batch(
    program: Program, total: int, devices: tuple[Device, ...], memory: float | None
) -> int:
    """Return the batch size that memory allows, levelled so that little of the last is padding.

    Args:
        program: The program; compiled for one point per device where memory matters.
        total: Number of points.
        devices: Devices that share a batch.
        memory: Bytes per device; None for no limit on CPU, elsewhere half of the device's.

    Returns:
        A multiple of the number of devices.

    Raises:
        ValueError: If one point per device needs more memory.
    """
    num = len(devices)

    def level(share: int) -> int:  # the smallest share with as many batches
        return math.ceil(total / (math.ceil(total / (share * num)) * num))

    share = math.ceil(total / num)
    if devices[0].platform == "cpu":
        share = min(share, CPU_POINTS)
    elif memory is None:
        limit = (devices[0].memory_stats() or {}).get("bytes_limit")
        memory = DEFAULT_MEMORY if limit is None else limit // 2
    if memory is None:
        return level(share) * num
    need = program.bytes(num)
    if need > memory:
        raise ValueError(
            f"memory: expected at least the {need} bytes per device that one point takes, "
            f"got {memory}"
        )
    share = level(min(share, int(memory // need)))
    # Memory is not exactly proportional to the number of points: measure, and shrink if needed.
    while share > 1 and (need := program.bytes(share * num)) > memory:
        share = level(max(1, min(share - 1, int(share * memory / need))))
    return share * num
