r"""Draws of `jax.random`, bit for bit, in less time on a CPU.

There JAX runs the rounds of its generator as a loop of some ten kernels, which takes longer to call
than to run where numbers are few. And XLA vectorises no array of short rows, such as the noise of
every member of a small state: those are drawn one component after the other, for all members.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from .._typing import Array, Float, Key

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)
SHORT = 32  # numbers in a row; two of the widest registers
FEW = 4096  # numbers; of more JAX's own loop is as fast


@functools.partial(jax.jit, static_argnums=(1, 2))
def normal(key: Key, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """Return `jax.random.normal`.

    Args:
        key: random key.
        shape: of the draws.
        dtype: of them.
    """
    size, dtype = math.prod(shape), jnp.dtype(dtype)
    known = _written_out(key) and dtype in (np.float32, np.float64)
    if not (known and 0 < size <= FEW):
        return jax.random.normal(key, shape, dtype)
    return _rows(shape, dtype)(key[None])[0]


def _written_out(key: Key) -> bool:
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    threefry = typed and str(jax.random.key_impl(key)) == "threefry2x32"
    partitionable = getattr(jax.config, "jax_threefry_partitionable", False)
    return bool(threefry and partitionable and jax.default_backend() == "cpu")


@functools.cache
def _rows(shape: tuple[int, ...], dtype: np.dtype) -> Callable[[Key], Array]:
    """Return keys [k] -> normals of that shape for each of them."""
    size = math.prod(shape)

    @custom_vmap
    def rows(keys: Key) -> Array:
        k = keys.shape[0]
        if k > 1 and size >= SHORT:
            return jax.vmap(lambda key: jax.random.normal(key, shape, dtype))(keys)
        first, second = jax.random.key_data(keys).T
        if k == 1:  # in halves: XLA does not compute a loop again for each of its users
            offsets = lax.iota(np.uint32, (size + 1) // 2)
            starts = np.array([0, offsets.size], np.uint32)[: min(size, 2)]
        else:
            offsets, starts = np.zeros(1, np.uint32), np.arange(size, dtype=np.uint32)
        drawn = lax.map(lambda at: _gaussian(_hashed(first, second, at + offsets), dtype), starts)
        drawn = drawn.reshape(1, -1)[:, :size] if k == 1 else drawn.T
        return drawn.reshape(k, *shape)

    @rows.def_vmap
    def merged(n: int, _: Any, keys: Key) -> tuple[Array, bool]:
        return rows(keys.reshape(-1)).reshape(n, -1, *shape), True

    return rows


def _hashed(first: Array, second: Array, low: Array) -> tuple[Array, Array]:
    """Return Threefry-2x32 of (0, low) in 20 rounds (Salmon, Moraes, Dror and Shaw 2011)."""
    words = first, second, first ^ second ^ PARITY
    a, b = words[0], low + words[1]
    for i in range(5):
        for distance in ROTATIONS[i % 2]:
            a = a + b
            b = a ^ ((b << np.uint32(distance)) | (b >> np.uint32(32 - distance)))
        a, b = a + words[(i + 1) % 3], b + words[(i + 2) % 3] + np.uint32(i + 1)
    return a, b


def _gaussian(words: tuple[Array, Array], dtype: np.dtype) -> Array:
    """Return sqrt(2) erf^{-1}(u), u between -1 and 1 by the bits of its mantissa."""
    a, b = words
    if dtype == np.float32:
        bits = (a ^ b) >> np.uint32(9)
    else:
        bits = ((a.astype(np.uint64) << np.uint64(32)) | b.astype(np.uint64)) >> np.uint64(12)
    one = np.ones((), dtype)
    low = np.nextafter(-one, np.zeros((), dtype))
    u = lax.bitcast_convert_type(bits | one.view(bits.dtype), dtype) - one
    return lax.erf_inv(jnp.maximum(low, u * (one - low) + low)) * np.sqrt(2 * one)
