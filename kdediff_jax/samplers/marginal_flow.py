r"""The reverse flow of one coordinate in closed form: a monotone map between two mixtures.

In one dimension the probability flow from p_1 up to noise and down to p_w is the increasing map
F_w^{-1} o F_1. With p_1 the kernel density of equally weighted members and p_w the same with
weights, it moves each member to where the weights want it, and not at all where they are equal.
Applied to every coordinate with weights of its own it leaves the members' ranks, and so the
dependence between coordinates, as they are (compare Anderson 2010 and 2020).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from .. import pairwise
from .._typing import Array, Float, Scalar, like
from ..bandwidths import moment_shrinkage
from ..numerics import newton_root

REACH = 8  # kernel widths beyond the outermost member, where Phi has fallen to rounding


def marginal_flow(
    members: Float[Array, " n"], log_weights: Float[Array, " n"], width: Scalar | float
) -> Float[Array, " n"]:
    """Return one coordinate of the members, moved to the weighted mixture.

    Args:
        members: x_i; where they are all equal they stay.
        log_weights: normalised log w_i.
        width: kernel width h in units of the members' spread, in (0, 1]. Centres are shrunk by
            sqrt(1 - h^2), so that the mixture has the members' mean and variance (West 1993).
    """
    mean = jnp.mean(members)
    variance = jnp.mean((members - mean) ** 2)
    constant = variance == 0
    std = jnp.sqrt(jnp.where(constant, 1, variance))
    z = (members - mean) / std
    h = like(members, width)
    centres = moment_shrinkage(h) * z
    weights = jnp.exp(log_weights)
    # where each member stands among equal weights; it keeps that place among the weighted
    level = pairwise.gaussian_cdf(z, centres, jnp.full_like(z, 1 / z.shape[0]), h)
    fixed = lax.stop_gradient((level, centres, weights, h))
    ends = jnp.min(z) - REACH * h, jnp.max(z) + REACH * h
    found = newton_root(
        lambda points: fixed[0] - pairwise.gaussian_cdf(points, *fixed[1:]),
        z,
        *(jnp.broadcast_to(end, z.shape) for end in ends),
        scale=h,
    )
    # the implicit function theorem: the derivative is that of a step of Newton's
    reached, density = jax.jvp(
        lambda points: pairwise.gaussian_cdf(points, centres, weights, h),
        (found,),
        (jnp.ones_like(found),),
    )
    density = lax.stop_gradient(jnp.maximum(density, jnp.finfo(z.dtype).eps))
    step = (level - reached) / density
    moved = found + step - lax.stop_gradient(step)
    return jnp.where(constant, members, mean + std * moved)
