"""Arrays that the compiler keeps in memory row by row, on each of the devices that share them."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.experimental.layout import Layout, with_layout_constraint

from .._typing import Array


def row_major(x: Array) -> Array:
    """Return x, which the compiler then keeps in memory row by row.

    What a simulator returns passes through here. Without it the layout that our products like best
    reaches back into the simulator, where the CPU's Fourier transform of jaxlib 0.11 fails on it
    ("RET_CHECK failure ... IsMonotonicWithDim0Major"). An array that is not traced is as it is: the
    constraint would tie it to its device.
    """
    return _row_major(x) if isinstance(x, jax.core.Tracer) else x


def _constrained(x: Array) -> Array:
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


# Of an array that devices share, each keeps its part so; the bare constraint would gather the whole
_on_each_device = custom_partitioning(_constrained)


def _own_part(mesh: Any, arguments: Any, result: Any) -> Any:
    return mesh, _constrained, arguments[0].sharding, (arguments[0].sharding,)


_on_each_device.def_partition(
    partition=_own_part,
    infer_sharding_from_operands=lambda mesh, arguments, result: arguments[0].sharding,
    sharding_rule="... -> ...",
)


_of_any_batch = custom_vmap(_on_each_device)


@_of_any_batch.def_vmap
def _of_batch(size: int, batched: Any, x: Array) -> tuple[Array, Any]:
    return _of_any_batch(x), True


@jax.custom_jvp
def _row_major(x: Array) -> Array:
    return _of_any_batch(x)


@_row_major.defjvp
def _tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _row_major(*primals), _constrained(*tangents)
