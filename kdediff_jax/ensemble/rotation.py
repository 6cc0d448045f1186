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

What is not Gaussian does not survive much of it: `unimodal` tells which coordinates to leave alone.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float, Key, Scalar, like
from ..numerics import centred, dot

GAUSSIAN = 2 / (math.pi - 2)  # variance between its halves over that within them, 1.75
LARGEST_BY_CHANCE = 3.1  # see `unimodal`


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
        v = pair[1] - u * jnp.sum(u * pair[1])  # Gram and Schmidt; both sum to 0 as drawn
        plane = jnp.stack([u, v / jnp.linalg.norm(v)])
        a, b = dot(plane, anomalies)
        change = jnp.stack([less * a - across * b, less * b + across * a])
        return anomalies + dot(plane.T, change), None

    mean = jnp.mean(members, axis=0, keepdims=True)
    rotated = mean + lax.scan(turn, members - mean, draws)[0]
    return jnp.where(angle[None] == 0, members, rotated)


def unimodal(
    members: Float[Array, "n d"], separation: Float[Array, " 2"] | tuple[float, float]
) -> Float[Array, " d"]:
    """Return 1 for coordinates with one mode, 0 for those with two.

    Each coordinate is halved at its mean. The variance between the halves over the variance within
    them is 1.75 for a Gaussian, 3 for a uniform, and more for modes with a gap between them.

    Few members of one mode seem to be two: of ten Gaussian ones a third has a ratio above 3. Where
    neighbours differ by chance, one is turned and the other is not, and their covariance is lost.
    So the ratio counts in units of what chance gives: with equal halves it is g^2 / (1 - g^2) of
    Geary's g = mean |x| / std (Geary 1935, Biometrika 27, 310), of variance (1 - 3 / pi) / N for a
    Gaussian, which gives its logarithm a standard deviation of 1.47 / N^{1/2}. One Gaussian
    ensemble in twenty, of 10 to 40 members, is above 1.75 exp(3.1 / (N - 3)^{1/2}).

    Args:
        members: of the analysis.
        separation: values of that ratio from which and up to which the answer falls from 1 to 0;
            both are larger in proportion where the first is no more than chance.
    """
    x = centred(lax.stop_gradient(members))
    above = (x > 0).astype(x.dtype)
    mass = jnp.mean(above, axis=0)
    a = jnp.mean(above * x, axis=0) / jnp.where(mass > 0, mass, 1)
    b = jnp.mean((1 - above) * x, axis=0) / jnp.where(mass < 1, 1 - mass, 1)
    between = mass * (1 - mass) * (a - b) ** 2
    within = jnp.mean(x**2, axis=0) - between
    eps, tiny = jnp.finfo(x.dtype).eps, jnp.finfo(x.dtype).tiny
    varies = between > tiny / eps  # else a constant
    ratio = between / jnp.maximum(within, eps * jnp.where(varies, between, 1))
    start, end = like(x, separation)
    chance = GAUSSIAN * math.exp(LARGEST_BY_CHANCE / max(x.shape[0] - 3, 1) ** 0.5)
    ratio = ratio / jnp.maximum(1, chance / start)
    return jnp.clip((end - jnp.where(varies, ratio, 0)) / (end - start), 0, 1)
