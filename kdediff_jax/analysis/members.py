r"""Which members take part, and what stands in for the others.

A member that is not finite, or whose prediction is not, can be neither moved nor weighed. One that
is finite but absurdly far from all others (a simulator that blew up) would be the ensemble's whole
covariance. Both are replaced by stand-ins and marked; no later stage meets one.

"Far" is measured in each coordinate by what few bad members cannot move: the median, and the
standard deviation of the central four fifths. A Gaussian's own is 0.66 of its standard deviation.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from .._typing import Array, Bool, Float, Scalar
from ..numerics import safe_sqrt

TRIMMED = 10  # one member in so many is cut off at either end
FEWEST = 10  # members of which one can be called far
SUSPICIOUS = 100.0  # ratio of the largest difference of neighbours to a typical one


def far_members(
    x: Float[Array, "n k"], known: Bool[Array, "n k"], threshold: Scalar
) -> Bool[Array, " n"]:
    """Return which members are further than `threshold` from the median in some coordinate.

    Among fewer than ten members none is.

    Args:
        x: members, or their predictions.
        known: which values count; the others may be anything.
        threshold: in units of the standard deviation of the central four fifths (of the median's
            size where those are all equal; where that is 0 too, nothing is far).
    """
    # sorting is most of a small filter's time: first a look at the differences of neighbours, of
    # which the mean of fourth roots is moved little by a few large ones
    quarters = 0.25 * jnp.where(known, x, 0)  # whose differences cannot overflow
    gaps = jnp.abs(quarters - jnp.roll(quarters, 1, axis=0))
    gaps = jnp.where(known & jnp.roll(known, 1, axis=0), gaps, 0)
    count = jnp.maximum(jnp.sum(known, axis=0), 1).astype(x.dtype)
    typical = (jnp.sum(jnp.sqrt(jnp.sqrt(gaps)), axis=0) / count) ** 4
    suspicious = jnp.any(jnp.max(gaps, axis=0) > SUSPICIOUS * typical)
    # unknown values break the chain of neighbours: then every member is looked at
    suspicious = suspicious | ~jnp.all(known)
    return lax.cond(
        suspicious, _beyond, lambda x, *_: jnp.zeros(x.shape[0], bool), x, known, threshold
    )


def _beyond(x: Array, known: Bool[Array, "n k"], threshold: Scalar) -> Bool[Array, " n"]:
    """Return who is far, from the sorted members."""
    place = jnp.arange(x.shape[0])[:, None]
    count = jnp.sum(known, axis=0)
    cut = -(-count // TRIMMED)  # rounded up
    ordered = jnp.sort(jnp.where(known, x, jnp.inf), axis=0)  # what is unknown comes last
    median = jnp.take_along_axis(ordered, count[None] // 2, axis=0)
    median = jnp.where(jnp.isfinite(median), median, 0)
    core = jnp.where((place >= cut[None]) & (place < (count - cut)[None]), ordered - median, 0)
    size = jnp.max(jnp.abs(core), axis=0)  # squares of ratios to it neither over- nor underflow
    ratios = core / jnp.where(size > 0, size, 1)[None]
    number = jnp.maximum(count - 2 * cut, 1).astype(x.dtype)
    mean = jnp.sum(ratios, axis=0) / number
    variance = jnp.sum(ratios**2, axis=0) / number - mean**2
    scale = size * safe_sqrt(variance)
    scale = jnp.where(scale > 0, scale, jnp.abs(median[0]))
    # the scale of fewer is chance
    judged = (scale > 0) & (count >= FEWEST)
    bound = jnp.where(judged, threshold * scale, jnp.inf)
    return jnp.any(known & (jnp.abs(x - median) > bound[None]), axis=1)


def replace_dead(
    members: Float[Array, "n k"], alive: Bool[Array, " n"] | None = None
) -> tuple[Float[Array, "n k"], Bool[Array, " n"]]:
    """Return the ensemble with stand-ins for the members that take no part, and the mask.

    Args:
        members: with whatever belongs to them, row by row.
        alive: members marked before; none by default. A row that is not finite is marked here.
    """
    finite = jnp.all(jnp.isfinite(members), axis=1)
    alive = finite if alive is None else alive & finite
    # the sort is a good part of a small filter's time, and seldom needed
    replaced = lax.cond(jnp.all(alive), lambda x, _: x, _with_stand_ins, members, alive)
    return replaced, alive


def replace_pairs(
    forecast: Float[Array, "n d"], paired: Float[Array, "n k"], alive: Bool[Array, " n"]
) -> tuple[Float[Array, "n d"], Float[Array, "n k"], Bool[Array, " n"]]:
    """Return members and what belongs to each, bad rows replaced together: pairs stay pairs."""
    d = forecast.shape[1]
    both, alive = replace_dead(jnp.concatenate([forecast, paired], axis=1), alive)
    return both[:, :d], both[:, d:], alive


def _with_stand_ins(members: Array, alive: Bool[Array, " n"]) -> Array:
    """Replace a dead row by most of one survivor's anomaly and a little of the next one's.

    Exact copies would be a member of double weight for ever where nothing is random. The parts'
    squares sum to 1: mean and covariance are the survivors'.
    """
    n = members.shape[0]
    count = jnp.maximum(jnp.sum(alive), 1)
    survivors = jnp.argsort(~alive, stable=True)
    # dead row i follows survivors number i and i + 1, counted round and round
    first, second = (survivors[(jnp.arange(n) + k) % count] for k in (0, 1))
    sound = jnp.where(alive[:, None], members, 0)
    mean = jnp.sum(sound, axis=0, keepdims=True) / count.astype(members.dtype)
    stand_in = mean + 0.95 * (sound[first] - mean) + (1 - 0.95**2) ** 0.5 * (sound[second] - mean)
    return jnp.where(alive[:, None], members, stand_in)
