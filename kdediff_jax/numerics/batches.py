"""A function of every row of some arrays, some rows at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array


def in_batches(function: Callable[[Any], Any], rows: Any, most: int) -> Any:
    """Return a function of every row, in batches of equal size.

    `lax.map` compiles the function a second time for the rows that its last batch lacks: here that
    one is filled up with copies of the last row.

    Args:
        function: of one row.
        rows: a pytree of arrays [n ...].
        most: rows at once, to bound memory.
    """
    n = jax.tree.leaves(rows)[0].shape[0]
    count = -(-n // most)
    if count == 1:
        return jax.vmap(function)(rows)
    size = -(-n // count)
    missing = count * size - n

    def filled(a: Array) -> Array:
        return jnp.concatenate([a, jnp.broadcast_to(a[-1:], (missing, *a.shape[1:]))])

    rows = jax.tree.map(filled, rows) if missing else rows
    return jax.tree.map(lambda a: a[:n], lax.map(function, rows, batch_size=size))
