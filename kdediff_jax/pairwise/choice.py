"""Which implementation of the pairwise sum runs."""

from __future__ import annotations

import functools
import os
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import choice
from .._typing import Array, Float, Scalar
from . import fused, tiled

IMPLEMENTATIONS = ("auto", "tiled", "fused")
VARIABLE = "KDEDIFF_PAIRWISE"


def softmax_shift(
    queries: Float[Array, "q d"],
    centres: Float[Array, "n d"],
    log_weights: Float[Array, " n"],
    tau: Float[Array, " d"] | Scalar,
    *,
    tile: tuple[int, int] | None = None,
    implementation: str | None = None,
) -> tuple[Float[Array, "q d"], Float[Array, " q"]]:
    """Return the softmax-weighted mean of the centres minus the query, and the log-sum.

    Args:
        queries: points x, centred by the caller.
        centres: kernel centres c_i, centred the same way; finite.
        log_weights: b_i; -inf switches a centre off.
        tau: kernel width, one number or one per coordinate.
        tile: (query rows, centre rows) of a tile of the tiled sum; None chooses for the device.
        implementation: "tiled"; "fused", the GPU kernel, where it supports the problem and has
            passed its self-check, else tiled; "auto", which is tiled until the kernel has been
            measured to win. None asks the environment variable KDEDIFF_PAIRWISE when the program
            is traced, and is "auto" without it.

    Returns:
        shift [q d] in the state's units and log_sum [q] (no normalising constant).

    Raises:
        ValueError: a tile below one, an unknown implementation.
    """
    name = implementation or os.environ.get(VARIABLE, "auto")
    choice("implementation" if implementation else VARIABLE, name, IMPLEMENTATIONS)
    if name == "fused" and fused.supports(*centres.shape) and _sound(jax.default_backend()):
        return fused.softmax_shift(queries, centres, log_weights, jnp.asarray(tau, queries.dtype))
    return tiled.softmax_shift(queries, centres, log_weights, tau, tile=tile)


@functools.cache
def _sound(backend: str) -> bool:
    """Return whether the kernel gives right numbers on this device; asked once."""
    try:
        with jax.ensure_compile_time_eval():
            error = _error()
    except Exception as problem:  # whatever a backend may raise: the tiled sum is there
        reason = f"{type(problem).__name__}: {problem}"
    else:
        if error < 1e-5:
            return True
        reason = f"its relative error is {error:.1e}"
    warnings.warn(
        f"fused pairwise kernel on {backend}: {reason}. The tiled sum is used instead.",
        RuntimeWarning,
        stacklevel=3,
    )
    return False


def _error() -> float:
    """Return the kernel's largest relative error against NumPy in float64, on a small problem."""
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(2, 200, 3)).astype(np.float32)
    b = np.log(rng.dirichlet(np.ones(200))).astype(np.float32)
    tau = np.float32(0.3)
    kernel = jax.jit(lambda *args: fused.softmax_shift(*args))
    shift, log_sum = kernel(*(jnp.asarray(a) for a in (x, c, b, tau)))
    away = c[None].astype(float) - x[:, None]
    logits = b[None] - 0.5 * np.sum((away / tau) ** 2, axis=2)
    p = np.exp(logits)
    wanted = np.einsum("qn,qnd->qd", p, away) / p.sum(axis=1, keepdims=True)
    gap = max(
        float(np.max(np.abs(np.asarray(shift) - wanted)) / np.max(np.abs(wanted))),
        float(np.max(np.abs(np.asarray(log_sum) - np.log(p.sum(axis=1))))),
    )
    return gap if np.isfinite(gap) else np.inf
