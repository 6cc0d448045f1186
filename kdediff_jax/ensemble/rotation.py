r"""Random rotations of an ensemble that keep its mean and covariance.

A square-root analysis, and a monotone map of every coordinate, give each member the place it had:
chance outliers and chance relations of higher order stay in the ensemble from cycle to cycle, and
nothing in its moments shows them. Multiplying the anomalies A [n d] by an orthogonal matrix W with
W 1 = 1 mixes the members and keeps mean and covariance (Sakov and Oke 2008, Tellus A 60, 361). Here
W is a product of N / 4 rotations by an angle in the planes of random orthonormal u, v, both
orthogonal to 1,

    W A = A + u [(cos - 1) u^T A - sin v^T A] + v [(cos - 1) v^T A + sin u^T A],

so that a member keeps exp(-(1 - cos) / 2) of its anomaly, and the rest comes from the others. The
angle may differ between coordinates: with equal angles their covariance is kept too.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float, Key, Scalar, like
from ..numerics import dot


def rotate(
    key: Key, members: Float[Array, "n d"], angle: Float[Array, " d"] | Scalar | float
) -> Float[Array, "n d"]:
    """Return the members, rotated; as they are where the angle is 0, and fewer than three.

    Args:
        key: random key.
        members: of the analysis.
        angle: in radians, a number or one per coordinate.
    """
    n, d = members.shape
    if n < 3:
        return members
    planes = -(-n // 4)  # so that a member meets half a rotation on average
    draws = jax.random.normal(key, (planes, 2, n), members.dtype)
    draws = draws - jnp.mean(draws, axis=2, keepdims=True)
    angle = jnp.broadcast_to(like(members, angle), (d,))
    less, across = jnp.cos(angle) - 1, jnp.sin(angle)

    def turn(anomalies: Array, pair: Array) -> tuple[Array, None]:
        u = pair[0] / jnp.linalg.norm(pair[0])
        v = pair[1] - u * jnp.sum(u * pair[1])
        plane = jnp.stack([u, v / jnp.linalg.norm(v)])
        a, b = dot(plane, anomalies)
        change = jnp.stack([less * a - across * b, less * b + across * a])
        return anomalies + dot(plane.T, change), None

    mean = jnp.mean(members, axis=0, keepdims=True)
    rotated = mean + lax.scan(turn, members - mean, draws)[0]
    return jnp.where(angle[None] == 0, members, rotated)
