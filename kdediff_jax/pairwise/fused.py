r"""The softmax-weighted shift as one fused GPU kernel: distances, softmax and sum in one pass.

In the manner of flash attention (Dao, Fu, Ermon, Rudra and Re 2022, arXiv 2205.14135), for few
coordinates: a thread owns one query, all threads of a block read the same centre at once, and
distances are differences, on the ordinary float units (no product, so nothing to round to TF32).
Centres go by in chunks whose largest logit updates the running maximum once. Few queries would
leave a device idle: the centres are split over blocks too, and the parts combined afterwards.

Memory is O(N). First and higher derivatives go through the tiled sum, O(N tile) in both modes.
Written in Pallas for its Triton backend; on other devices Pallas interprets it, slowly, for tests.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from .._typing import Array, Float, Scalar
from . import tiled

COORDINATES_UP_TO = 32  # in more, a query and its sum do not fit a thread's registers
ROWS = 128  # queries of a block: four warps
BLOCKS = 2048  # wanted in flight: some sixteen on each processor of a large device
_LOG2E = math.log2(math.e)


def supports(num_centres: int, d: int) -> bool:
    """Return whether the kernel can be used: its registers, and offsets in 32 bits."""
    return d <= COORDINATES_UP_TO and (num_centres + ROWS) * d < 2**31


@jax.custom_jvp
def softmax_shift(
    queries: Float[Array, "q d"],
    centres: Float[Array, "n d"],
    log_weights: Float[Array, " n"],
    tau: Float[Array, " d"] | Scalar,
) -> tuple[Float[Array, "q d"], Float[Array, " q"]]:
    """Return what `kdediff_jax.pairwise.tiled.softmax_shift` returns."""
    return launch(queries, centres, log_weights, tau, interpret=jax.default_backend() == "cpu")


@softmax_shift.defjvp
def _softmax_shift_jvp(primals, tangents):
    return softmax_shift(*primals), jax.jvp(tiled.softmax_shift, primals, tangents)[1]


def launch(
    queries: Array, centres: Array, log_weights: Array, tau: Array, *, interpret: bool
) -> tuple[Array, Array]:
    """Run the kernel over blocks of queries and splits of centres, and combine the splits."""
    (q, d), n = queries.shape, centres.shape[0]
    dtype = queries.dtype
    chunk = max(1, 32 // d)
    blocks = -(-q // ROWS)
    # a split of fewer than 8 chunks costs more to combine than it saves
    splits = max(1, min(BLOCKS // blocks, n // (8 * chunk)))
    steps = -(-n // (splits * chunk))
    extra = splits * steps * chunk - n
    x = jnp.pad(queries, ((0, blocks * ROWS - q), (0, 0))).T
    c = jnp.pad(centres, ((0, extra), (0, 0))).T
    # exponentials of base 2 are one instruction
    b = jnp.pad(_LOG2E * log_weights, (0, extra), constant_values=-jnp.inf)
    inverse = jnp.broadcast_to(math.sqrt(0.5 * _LOG2E) / tau, (d,))

    def whole(*shape: int) -> pl.BlockSpec:
        return pl.BlockSpec(shape, lambda i, s: (0,) * len(shape))

    part = pl.BlockSpec((None, ROWS), lambda i, s: (s, i))
    per_part = jax.ShapeDtypeStruct((splits, blocks * ROWS), dtype)
    top, total, shift = pl.pallas_call(
        functools.partial(_kernel, chunk=chunk, steps=steps),
        grid=(blocks, splits),
        in_specs=[
            pl.BlockSpec((d, ROWS), lambda i, s: (0, i)),
            *(whole(*c.shape), whole(*b.shape), whole(d)),
        ],
        out_specs=[part, part, pl.BlockSpec((None, d, ROWS), lambda i, s: (s, 0, i))],
        out_shape=[
            *(per_part, per_part),
            jax.ShapeDtypeStruct((splits, d, blocks * ROWS), dtype),
        ],
        compiler_params=triton.CompilerParams(num_warps=ROWS // 32, num_stages=1),
        interpret=interpret,
        name="softmax_shift",
    )(x, c, b, inverse)
    highest = jnp.max(top, axis=0)
    scale = jnp.exp2(top - highest[None])
    total = jnp.sum(scale * total, axis=0)
    mean = jnp.sum(scale[:, None] * shift, axis=0) / total[None]
    log_sum = highest / _LOG2E + jnp.log(total)
    return mean.T[:q], log_sum[:q]


def _kernel(x_ref, c_ref, b_ref, inverse_ref, top_ref, total_ref, shift_ref, *, chunk, steps):
    """One block of queries against one split of the centres."""
    d, rows = x_ref.shape
    x = [x_ref[j, :] for j in range(d)]
    inverse = [inverse_ref[j] for j in range(d)]
    first = pl.program_id(1) * steps * chunk

    def step(i, carry):
        top, total, shift = carry
        places = [first + i * chunk + k for k in range(chunk)]
        # differences first, then scaled: before, rounding grows with |x| / tau
        away = [[c_ref[j, place] - x[j] for j in range(d)] for place in places]
        logits = []
        for place, differences in zip(places, away, strict=True):
            squared = jnp.zeros_like(top)
            for difference, scale in zip(differences, inverse, strict=True):
                squared = squared + (difference * scale) * (difference * scale)
            logits.append(b_ref[place] - squared)
        highest = functools.reduce(jnp.maximum, logits, top)
        shrink = jnp.exp2(top - highest)
        total, shift = total * shrink, [s * shrink for s in shift]
        for logit, differences in zip(logits, away, strict=True):
            p = jnp.exp2(logit - highest)
            total = total + p
            shift = [s + p * difference for s, difference in zip(shift, differences, strict=True)]
        return highest, total, shift

    zero = jnp.zeros((rows,), x_ref.dtype)
    # finite, so that masked centres give no NaN
    lowest = jnp.full((rows,), jnp.finfo(x_ref.dtype).min / 2, x_ref.dtype)
    top, total, shift = lax.fori_loop(0, steps, step, (lowest, zero, [zero] * d))
    top_ref[...] = top
    total_ref[...] = total
    for j in range(d):
        shift_ref[j, :] = shift[j]
