r"""Coordinates and measurements in blocks, one a device, and what a block needs of the others.

Both are cut into blocks of equal length in their own order, block r for the r-th device of a mesh
axis. The lists of neighbours say at construction which measurements a device's coordinates see.
Those of its own block it has; the others are its halo. For every number s of places along the
axis across which some list reaches, each device sends the device s places on the rows that this
one's lists name, and no others (`ppermute`, around the ends as on a ring). Rows are padded to the
longest such set, so that all devices run one program.

Where neighbours are near in their order (a line, a grid row by row) a halo is the reach on either
side. Points in no order need nearly all rows of all others: sort them first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .._typing import Array, Int
from .._words import counted


class Halo(eqx.Module):
    """How coordinates and measurements are shared out, and which rows go where.

    Attributes:
        sent: for every shift the rows of its own block that each device sends [p l].
        shifts: numbers of places along the axis.
        coordinates: their number d.
        blocks: coordinates and measurements of one device.
        mesh: the devices.
        axis: of the mesh, p devices long. Along others there are copies.
    """

    sent: tuple[Int[Array, "p l"], ...]
    shifts: tuple[int, ...] = eqx.field(static=True)
    coordinates: int = eqx.field(static=True)
    blocks: tuple[int, int] = eqx.field(static=True)
    mesh: Mesh = eqx.field(static=True)
    axis: str = eqx.field(static=True)

    @property
    def size(self) -> int:
        """Rows that one device receives, padding included."""
        return sum(rows.shape[1] for rows in self.sent)

    def __repr__(self) -> str:
        """Say how much is exchanged."""
        return f"Halo({counted(self.size, 'measurement')} beside {self.blocks[1]})"

    def __call__(self, function: Callable[..., Any], rows: Any, measured: Any) -> Any:
        """Return a function of blocks of coordinates and of all measurements that they name.

        Args:
            function: of a device's rows, and of its measurements with their halo behind them.
            rows: arrays [d ...] of all coordinates.
            measured: arrays [m ...] of all measurements.
        """
        devices = self.mesh.shape[self.axis]
        rows, measured = (
            jax.tree.map(lambda x, n=block * devices: _filled_up(x, n), each)
            for each, block in zip((rows, measured), self.blocks, strict=True)
        )

        def share(sent: Any, rows: Any, measured: Any) -> Any:
            return function(rows, jax.tree.map(lambda own: self._with_halo(own, sent), measured))

        split = PartitionSpec(self.axis)
        # a filter's loops do not say which of their values differ between devices
        over_devices = jax.shard_map(
            share, mesh=self.mesh, in_specs=split, out_specs=split, check_vma=False
        )
        found = over_devices(self.sent, rows, measured)
        return jax.tree.map(lambda x: x[: self.coordinates], found)

    def _with_halo(self, own: Array, sent: tuple[Array, ...]) -> Array:
        """Return a device's block of measurements, what it receives behind it."""
        devices, parts = self.mesh.shape[self.axis], [own]
        for shift, rows in zip(self.shifts, sent, strict=True):
            routes = [(r, (r + shift) % devices) for r in range(devices)]
            parts.append(lax.ppermute(own[rows[0]], self.axis, routes))
        return jnp.concatenate(parts)


def by_device(halo: Halo | None, function: Callable[..., Any], rows: Any, measured: Any) -> Any:
    """Return what a function makes of all rows and measurements, on the devices of a halo if any.

    What the function closes over is the same on all devices.
    """
    return function(rows, measured) if halo is None else halo(function, rows, measured)


def shared_out(near: np.ndarray, m: int, mesh: Mesh, axis: str) -> tuple[Array, Halo]:
    """Return each device's lists of neighbours, placed there, and the halo.

    Args:
        near: the measurements near every coordinate [d k]; m fills up a list.
        m: number of measurements.
        mesh: the devices.
        axis: of the mesh.

    Returns:
        lists as `plan` makes them, and the halo.
    """
    lists, sent, blocks = plan(near, m, mesh.shape[axis])
    sharding = NamedSharding(mesh, PartitionSpec(axis))
    rows = tuple(_placed(x, sharding) for x in sent.values())
    return _placed(lists, sharding), Halo(rows, tuple(sent), near.shape[0], blocks, mesh, axis)


def plan(
    near: np.ndarray, m: int, devices: int
) -> tuple[np.ndarray, dict[int, np.ndarray], tuple[int, int]]:
    """Return the lists in each device's own numbers, what is sent, and the lengths of blocks.

    Args:
        near: as of `shared_out`.
        m: number of measurements.
        devices: their number p.

    Returns:
        lists [d k], with copies of the last row so that the devices divide them: a device counts
        its own measurements, then what it receives, shift after shift, and the number of all that
        fills up a list; for every shift the rows that each device sends [p l]; and the coordinates
        and measurements of a block.
    """
    blocks = -(-near.shape[0] // devices), -(-m // devices)
    extra = devices * blocks[0] - near.shape[0]
    lists = np.pad(near, ((0, extra), (0, 0)), mode="edge").reshape(devices, blocks[0], -1)
    # needed[r][s]: what device r needs of the one s places before it
    needed = [_by_shift(each[each < m], r, blocks[1], devices) for r, each in enumerate(lists)]
    longest = [max(len(each[s]) for each in needed) for s in range(devices)]
    sent = {s: np.zeros((devices, longest[s]), np.int32) for s in range(1, devices) if longest[s]}
    place = np.empty(m + 1, np.int32)
    for r in range(devices):
        place[needed[r][0]] = needed[r][0] - r * blocks[1]
        start = blocks[1]
        for s, rows in sent.items():
            names, source = needed[r][s], (r - s) % devices
            rows[source, : len(names)] = names - source * blocks[1]
            place[names] = start + np.arange(len(names))
            start += longest[s]
        place[m] = start
        lists[r] = place[lists[r]]
    return lists.reshape(-1, near.shape[1]), sent, blocks


def _by_shift(named: np.ndarray, device: int, block: int, devices: int) -> list[np.ndarray]:
    """Return the measurements that a device's lists name, by how far before it their owners are."""
    named = np.unique(named)
    shift = (device - named // block) % devices
    return [named[shift == s] for s in range(devices)]


def _filled_up(x: Array, length: int) -> Array:
    """Return x with copies of its last row."""
    return jnp.pad(x, ((0, length - x.shape[0]), *((0, 0),) * (x.ndim - 1)), mode="edge")


def _placed(x: np.ndarray, sharding: NamedSharding) -> Array:
    """Return an array of which each device, and each process, holds its own block."""
    return jax.make_array_from_callback(x.shape, sharding, lambda block: x[block])
