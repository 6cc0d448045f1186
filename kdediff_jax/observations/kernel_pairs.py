r"""The kernel density of pairs, p(y_k | x) = sum_j K(x - x_j) K(y_k - y_kj) / sum_j K(x - x_j).

It knows two branches and rounded values, where location and scale do not. Widths are those that
make measurements likeliest which the kernels have not seen (leave-one-out).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float, Int, Scalar
from ..numerics import dot, mean_squares, standard_deviation

PAIRS = 512  # that are used at most: the choice of widths costs their number's square


class KernelPairs(NamedTuple):
    """The kernel density of pairs.

    Attributes:
        members: x_j, in units of their standard deviation [c d].
        origin, unit: of those units [d].
        values: y_j, 0 where it does not count [c m].
        known: 1 where it counts [c m].
        owner: number j of the member; replicates share one [c].
        widths: of kernels over the state [b].
        bandwidths: of kernels for y [w m].
        background: part of another density that is mixed in: no measurement is impossible.
    """

    members: Float[Array, "c d"]
    origin: Float[Array, " d"]
    unit: Float[Array, " d"]
    values: Float[Array, "c m"]
    known: Float[Array, "c m"]
    owner: Int[Array, " c"]
    widths: Float[Array, " b"]
    bandwidths: Float[Array, "w m"]
    background: Scalar

    def density(
        self, y: Float[Array, " m"], members: Float[Array, "k d"], chosen: Int[Array, " m"]
    ) -> Float[Array, "k m"]:
        """Return p(y_k | x_i) with the widths chosen for each component."""
        near = self.nearness((members - self.origin[None]) / self.unit[None])
        width, bandwidth = jnp.divmod(chosen, self.bandwidths.shape[0])
        bandwidth = jnp.take_along_axis(self.bandwidths, bandwidth[None], axis=0)
        kernels = _kernel(y[None] - self.values, bandwidth) * self.known
        densities = dot(near, kernels) / _total(near, self.known)
        return jnp.take_along_axis(densities, width[None, None], axis=0)[0]

    def mixed(
        self, density: Float[Array, "*s"], log_other: Float[Array, "*s"]
    ) -> Float[Array, "*s"]:
        """Return the log of a density with a little of another one mixed in."""
        log_density = jnp.log(density + jnp.finfo(density.dtype).tiny)
        return jnp.logaddexp(log_density, jnp.log(self.background) + log_other)

    def nearness(self, points: Float[Array, "k d"]) -> Float[Array, "b k c"]:
        """Return the kernels over the state, for every width."""
        squared = mean_squares(points, self.members)
        # relative to the nearest, which never is too far
        squared = squared - jnp.min(squared, axis=1, keepdims=True)
        return jnp.exp(-0.5 * squared[None] / self.widths[:, None, None] ** 2)


def few_of(values: Float[Array, "n r m"]) -> Float[Array, "c m"]:
    """Return as many pairs as are affordable."""
    n, r, m = values.shape
    return values[:PAIRS, : min(r, max(1, PAIRS // n))].reshape(-1, m)


def kernel_pairs(
    members: Float[Array, "n d"],
    simulated: Float[Array, "n r m"],
    widths: Float[Array, " b"],
    relative_bandwidths: Float[Array, " w"],
    background: Scalar,
) -> KernelPairs:
    """Return the kernel density of some pairs, with its candidates for widths.

    Args:
        members: x_i.
        simulated: r measurements of each.
        widths: candidates over the state, in standard deviations.
        relative_bandwidths: candidates for y, in units of Silverman's.
        background: see `KernelPairs`.
    """
    few = few_of(simulated)
    origin, unit = jnp.mean(members, axis=0), standard_deviation(members)
    scaled = (members[:PAIRS] - origin[None]) / unit[None]
    owner = jnp.arange(few.shape[0]) // (few.shape[0] // scaled.shape[0])
    known = jnp.isfinite(few)
    # deciles, 2.56 standard deviations of a Gaussian apart: no outlier widens a kernel
    low, high = (jnp.nanquantile(few, q, axis=0) for q in (0.1, 0.9))
    spread = jnp.where(high > low, (high - low) / 2.56, 1)
    silverman = 0.9 * few.shape[0] ** -0.2 * spread
    bandwidths = relative_bandwidths[:, None] * silverman[None]
    values = jnp.where(known, few, 0)
    known = known.astype(few.dtype)
    scaled = scaled[owner]
    return KernelPairs(scaled, origin, unit, values, known, owner, widths, bandwidths, background)


def likeliest(
    log_density: Callable[[Array], Array], pairs: KernelPairs, evidence: Scalar
) -> Int[Array, " m"]:
    """Return which density makes each component's values likeliest, not seen by the kernels."""
    spread = _spread_over_steps(pairs.values)
    by_first = log_density(spread - pairs.values)
    by_first = jnp.where(pairs.known > 0, by_first, 0)
    # leave one out: replicates of a member have its state, and would speak for each other
    other_member = pairs.owner[:, None] != pairs.owner[None]
    near = jnp.where(other_member[None], pairs.nearness(pairs.members), 0)

    def of_component(k: Array) -> Float[Array, " w"]:
        known, gaps = pairs.known[:, k], spread[:, k][:, None] - spread[:, k][None]

        def gain(bandwidth: Array) -> Float[Array, " b"]:
            kernels = _kernel(gaps, bandwidth) * known[None]
            mean = jnp.sum(near * kernels[None], axis=2) / _total(near, known[:, None])[..., 0]
            first = by_first[None, :, k]
            return jnp.sum((pairs.mixed(mean, first) - first) * known[None], axis=1)

        return jax.vmap(gain, out_axes=1)(pairs.bandwidths[:, k]).reshape(-1)

    # one component after the other: all at once are [m b w c c]
    gains = lax.map(of_component, jnp.arange(pairs.values.shape[1]))
    best = jnp.argmax(gains, axis=1)
    enough = 2 * jnp.max(gains, axis=1) > evidence
    return jnp.where(enough, 1 + best, 0).astype(jnp.int32)


def _spread_over_steps(values: Float[Array, "c m"]) -> Float[Array, "c m"]:
    """Return values that are mostly ties, such as counts, evenly spread over their steps.

    The likelihood of values that occur exactly again is infinite under narrow kernels.
    """
    gaps = jnp.diff(jnp.sort(values, axis=0), axis=0)
    step = jnp.min(jnp.where(gaps > 0, gaps, jnp.inf), axis=0)
    discrete = (2 * jnp.sum(gaps == 0, axis=0) > values.shape[0]) & jnp.isfinite(step)
    # multiples of the golden ratio fill a step evenly, however many values share it
    even = (0.6180340 * jnp.arange(values.shape[0], dtype=values.dtype)) % 1 - 0.5
    return values + jnp.where(discrete, step, 0)[None] * even[:, None]


def _total(weights: Array, known: Array) -> Array:
    return dot(weights, known) + jnp.finfo(weights.dtype).tiny


def _kernel(gap: Array, bandwidth: Array) -> Array:
    return jnp.exp(-0.5 * (gap / bandwidth) ** 2) / ((2 * jnp.pi) ** 0.5 * bandwidth)
