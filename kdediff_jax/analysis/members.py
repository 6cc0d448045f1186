r"""Which members take part, and what stands in for the others.

A member that is not finite, or whose prediction is not, can be neither moved nor weighed. One that
is finite but absurdly far from all others (a simulator that blew up) would be the ensemble's whole
covariance. Both are replaced by stand-ins and marked; no later stage meets one.

"Far" is measured in each coordinate by what few bad members cannot move: the median, and half of
the distance between the 15th and the 85th percentile, 1.04 standard deviations of a Gaussian. Bad
Bad members are found up to 15 in a hundred on either side.

Of a field of a million coordinates every member may be bad somewhere, in another place each. Where
fewer than half would be left of it, a localised scheme has stand-ins in those places alone, and the
members take part elsewhere; one that is bad in most coordinates has failed, and does not.
"""

from __future__ import annotations

import jax.numpy as jnp

from .._typing import Array, Bool, Float, Scalar, like
from ..numerics import rarely

BEYOND = 15  # percent of the members that lie beyond the percentiles at either end
FEWEST = 10  # members of which one can be called far


def admit(
    forecast: Float[Array, "n d"], far_member: Scalar, localised: bool = False
) -> tuple[Float[Array, "n d"], Bool[Array, " n"]]:
    """Return the members with stand-ins for those that cannot take part, and who takes part.

    Args:
        forecast: members, finite or not.
        far_member: see `far_values`.
        localised: whether a member can take part without some of its coordinates.
    """

    def mended() -> tuple[Array, Array]:
        finite = jnp.isfinite(forecast)
        whole = jnp.all(finite, axis=1)
        whole = whole & ~far_members(forecast, whole[:, None], far_member)
        if not localised:
            return replace_dead(forecast, whole), whole
        sound = finite & ~far_values(forecast, finite, far_member)
        few = 2 * jnp.sum(whole) < whole.size
        alive = jnp.where(few, 2 * jnp.sum(sound, axis=1) > sound.shape[1], whole)
        return replace_dead(forecast, alive[:, None] & (sound | ~few)), alive

    everyone = jnp.ones(forecast.shape[0], bool)
    return rarely(~all_near(forecast, far_member), mended, lambda: (forecast, everyone))


def all_near(x: Float[Array, "n k"], threshold: Scalar | float) -> Bool[Array, ""]:
    """Return True where all is finite and nothing further than `threshold`: a look, no sorting.

    Where one value is T scales s from the median, the range R is more than T s, and all but
    2 * 15 % of the values lie within 2 s < 2 R / T of each other; and so do neighbours in the
    array, all but those of which one lies outside. Where fewer do, nothing is far. False says
    nothing: only then need anything be sorted.

    Args:
        x: members, or their predictions.
        threshold: see `far_members`.
    """
    n = x.shape[0]
    quarters = 0.25 * x  # whose differences cannot overflow
    extent = jnp.max(quarters, axis=0) - jnp.min(quarters, axis=0)
    window = 4 * extent / like(x, threshold)  # twice what it has to be, for rounding
    close = jnp.abs(quarters[1:] - quarters[:-1]) <= window[None]
    within = n - 1 - 4 * (BEYOND * n // 100)
    scattered = jnp.sum(close, axis=0, dtype=jnp.int32) < within
    # of values that are all equal none is far
    return jnp.all(jnp.isfinite(extent) & (scattered | (extent == 0)))


def far_members(
    x: Float[Array, "n k"], known: Bool[Array, "n #k"], threshold: Scalar
) -> Bool[Array, " n"]:
    """Return which members have a value that is far, see `far_values`."""
    return jnp.any(far_values(x, known, threshold), axis=1)


def far_values(
    x: Float[Array, "n k"], known: Bool[Array, "n #k"], threshold: Scalar
) -> Bool[Array, "n k"]:
    """Return which values are further than `threshold` from the median of their coordinate.

    Among fewer than ten members none is.

    Args:
        x: members, or their predictions.
        known: which values count; the others may be anything.
        threshold: in units of half of the distance between the 15th and the 85th percentile (of
            the median's size where those are equal; where that is 0 too, nothing is far).
    """
    known = jnp.broadcast_to(known, x.shape)
    count = jnp.sum(known, axis=0)
    median, scale = middle_and_scale(x, known)
    scale = jnp.where(scale > 0, scale, jnp.abs(median))
    # the scale of fewer is chance
    judged = (scale > 0) & (count >= FEWEST)
    bound = jnp.where(judged, threshold * scale, jnp.inf)
    return known & (jnp.abs(x - median[None]) > bound[None])


def middle_and_scale(
    x: Float[Array, "n k"], known: Bool[Array, "n k"]
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Return the median of what is known in each column, and half of its inner range.

    That is the distance between the 15th and the 85th percentile.
    """
    count = jnp.sum(known, axis=0)
    cut = BEYOND * count // 100
    ordered = jnp.sort(jnp.where(known, x, jnp.inf), axis=0)  # what is unknown comes last
    places = jnp.stack([cut, count // 2, count - 1 - cut])
    low, median, high = jnp.take_along_axis(ordered, jnp.maximum(places, 0), axis=0)
    return median, 0.5 * high - 0.5 * low


def replace_dead(members: Float[Array, "n k"], alive: Bool[Array, "n *k"]) -> Float[Array, "n k"]:
    """Return the ensemble with stand-ins for the members that take no part.

    A stand-in is most of one survivor's anomaly and a little of the next one's. Exact copies would
    be a member of double weight for ever where nothing is random. The parts' squares sum to 1: mean
    and covariance are the survivors'. Without survivors all is 0.

    Args:
        members: with whatever belongs to them, row by row.
        alive: which take part, everywhere or in each column.
    """
    n = members.shape[0]
    alive = alive.reshape(n, -1)
    count = jnp.maximum(jnp.sum(alive, axis=0, keepdims=True), 1)
    survivors = jnp.argsort(~alive, axis=0, stable=True)
    sound = jnp.where(alive, members, 0)
    mean = jnp.sum(sound, axis=0, keepdims=True) / count.astype(members.dtype)

    def anomaly(k: int) -> Array:
        # dead row i follows survivors number i and i + 1, counted round and round
        rows = jnp.take_along_axis(survivors, (jnp.arange(n)[:, None] + k) % count, axis=0)
        return jnp.take_along_axis(sound, rows, axis=0) - mean

    stand_in = mean + 0.95 * anomaly(0) + (1 - 0.95**2) ** 0.5 * anomaly(1)
    return jnp.where(alive, members, stand_in)
