r"""How much of the likelihood a Kalman gain gets: the rule of the covariance kernel.

Particle weights are right for any forecast and noisy; a Kalman gain has little noise and is right
for a Gaussian forecast. Lepski's principle (Lepski 1991) decides between such estimates: the least
noisy one that no noisier one contradicts. With phi(g) the posterior means of some features under
the share g, and v(g) = d (1 / ESS(g) - 1 / N) the sampling noise that its weights add, in units of
the posterior variance and summed over d coordinates, the largest g is taken for which

    mean over features of (phi(g) - phi(g'))^2  <=  evidence v(g')   for every smaller share g'.

Shares whose noise exceeds a budget are neither taken nor asked. A noisy analysis costs more than
the noise of its moments, as every later cycle starts from it: hence the sum over coordinates.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .._linalg import solve_lower
from .._typing import Array, Bool, Float, Int, Scalar
from .covariance_kernel import floored_root
from .gains import dot

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


def choose(
    estimates: Float[Array, "g f"],
    noise: Float[Array, " g"],
    allowed: Bool[Array, " g"],
    evidence: Scalar,
) -> Int[Array, ""]:
    """Return the index of the share to take.

    Args:
        estimates: posterior means of the features, of unit variance, in increasing order of share.
        noise: v(g).
        allowed: within the budget; the last, the pure Kalman update, always is.
        evidence: see above. Infinity takes the largest share, 0 the smallest that is allowed.
    """
    count = noise.shape[0]
    allowed = allowed.at[-1].set(True)
    gaps = jnp.mean((estimates[:, None] - estimates[None]) ** 2, axis=2)
    bound = evidence * jnp.maximum(noise, 0)
    place = jnp.arange(count)
    asked = allowed[None] & (place[None] < place[:, None])
    sound = allowed & jnp.all(~asked | (gaps <= bound[None]), axis=1)
    # the smallest share allowed is contradicted by none
    return jnp.max(jnp.where(sound, place, 0))


def features(
    members: Float[Array, "g n d"],
    log_weights: Float[Array, "*g n"],
    products: bool,
    roots: Float[Array, "g d d"] | None = None,
) -> Float[Array, "g f"]:
    """Return the weighted means of coordinates, squares and products under every share.

    Members are whitened by those of the last share (standardised, without products), and every
    feature has unit variance among them.

    Args:
        members: for every share.
        log_weights: normalised, [g n] or, a set for every coordinate, [g d n].
        products: of pairs of coordinates as well; not with weights of their own.
        roots: of the covariance of each share's components, which second moments include.
    """
    _, n, d = members.shape
    last = members[-1]
    mean = jnp.mean(last, axis=0, keepdims=True)
    anomalies = last - mean
    if products:
        root = floored_root(dot(anomalies.T, anomalies) / n)
        upper = np.triu_indices(d)

        def of(x: Array) -> Array:
            z = solve_lower(root, (x - mean).T).T
            return jnp.concatenate([z, z[:, upper[0]] * z[:, upper[1]]], axis=1)

        def within(r: Array) -> Array:
            w = solve_lower(root, r)
            return dot(w, w.T)[upper]
    else:
        variance = jnp.mean(anomalies**2, axis=0, keepdims=True)
        std = jnp.sqrt(jnp.where(variance > 0, variance, 1))

        def of(x: Array) -> Array:
            z = (x - mean) / std
            return jnp.concatenate([z, z**2], axis=1)

        def within(r: Array) -> Array:
            return jnp.sum((r / std.T) ** 2, axis=1)

    values = jax.vmap(of)(members)
    if roots is not None:
        extra = jax.vmap(within)(roots)
        none = jnp.zeros((extra.shape[0], d), extra.dtype)
        values = values + jnp.concatenate([none, extra], axis=1)[:, None]
    weights = jnp.exp(log_weights)
    if weights.ndim == 2:
        means = jnp.einsum("gn,gnf->gf", weights, values, precision="highest")
    else:
        each = values.reshape(*values.shape[:2], -1, d)
        means = jnp.einsum("gdn,gnkd->gkd", weights, each, precision="highest")
        means = means.reshape(means.shape[0], -1)
    variance = jnp.var(values[-1], axis=0)
    # a constant feature cannot contradict anything
    unit = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), jnp.inf)
    return means / unit[None]
