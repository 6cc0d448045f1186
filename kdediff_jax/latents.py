"""Standard-normal latents of low variance: the randomness that the reverse flow transports.

"independent"     plain draws.
"stratified"      Latin hypercube: every coordinate has one draw in each of n equal strata
                  (McKay, Beckman and Conover 1979).
"quasi"           rank-1 lattice with generators 1/phi_d^k (Roberts 2018), each coordinate ranked
                  onto an even grid, then randomly shifted; for up to about five dimensions: beyond,
                  single pairs of coordinates correlate more than independent draws do.
"low-variance"    "quasi-matched" in up to five dimensions, "independent-matched" beyond: the best
                  of these on Lorenz-63, and among the best on Lorenz-96
                  (benchmarks/accuracy/latents.py).
"*-matched"       the same, then shifted and scaled so that the sample mean is 0 and the sample
                  covariance is I exactly (variances only where n < 2 (d + 1)).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from ._checks import choice
from ._typing import Array, Float, Key
from .numerics import dot, eigh

QUASI_DIMENSIONS = 5
KINDS = (
    "low-variance",
    "independent",
    "stratified",
    "quasi",
    "independent-matched",
    "stratified-matched",
    "quasi-matched",
)


def draw(key: Key, n: int, d: int, dtype: jnp.dtype, kind: str) -> Float[Array, "n d"]:
    """Return n latents in d dimensions; marginally N(0, I) (nearly, once matched).

    Raises:
        ValueError: an unknown kind.
    """
    choice("latents", kind, KINDS)
    if kind == "low-variance":
        kind = "quasi-matched" if d <= QUASI_DIMENSIONS else "independent-matched"
    base, _, matched = kind.partition("-")
    if base == "independent":
        z = jax.random.normal(key, (n, d), dtype)
    else:
        uniform = _latin_hypercube if base == "stratified" else _lattice
        tiny = jnp.finfo(dtype).eps
        z = ndtri(jnp.clip(uniform(key, n, d, dtype), tiny, 1 - tiny))
    return match_moments(z) if matched else z


def match_moments(z: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Return z, moved to sample mean 0 and covariance (divisor n) I; one draw stays as it is."""
    n, d = z.shape
    if n == 1:
        return z
    z = z - jnp.mean(z, axis=0, keepdims=True)
    if n < 2 * (d + 1):  # too few draws to whiten
        return z / jnp.sqrt(jnp.mean(z**2, axis=0, keepdims=True))
    values, vectors = eigh(dot(z.T, z) / n)
    # the symmetric root keeps each latent close to where it was drawn
    root = dot(vectors / jnp.sqrt(values)[None], vectors.T)
    return dot(z, root)


def _latin_hypercube(key: Key, n: int, d: int, dtype: jnp.dtype) -> Float[Array, "n d"]:
    jitter_key, order_key = jax.random.split(key)
    keys = jax.random.split(order_key, d)
    strata = jax.vmap(lambda k: jax.random.permutation(k, n), out_axes=1)(keys)
    return (strata.astype(dtype) + jax.random.uniform(jitter_key, (n, d), dtype)) / n


def _lattice(key: Key, n: int, d: int, dtype: jnp.dtype) -> Float[Array, "n d"]:
    # the root of x^(d+1) = x + 1 generalises the golden ratio
    phi = 2.0
    for _ in range(64):
        phi = (1 + phi) ** (1 / (d + 1))
    # in NumPy's float64: i / phi^k loses its fraction in float32 for large n
    steps = np.arange(n)[:, None] * phi ** -np.arange(1.0, d + 1)[None] % 1
    # 1/phi^k may lie near a simple fraction, whose points bunch: ranks make every coordinate even
    ranks = np.argsort(np.argsort(steps, axis=0), axis=0)
    points = jnp.asarray(ranks / n, dtype) + jax.random.uniform(key, (1, d), dtype)
    return points % 1
