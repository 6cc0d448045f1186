r"""Densities of location and scale: p(y_k | x) = f_k((y_k - h_k(x)) / s_k(x)) / s_k(x).

h_k and log s_k are smooth functions of the state (`numerics.smoothing`; the logarithm of a residual
has a variance whatever the tails), f_k the kernel density of all members' standardised residuals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array, Bool, Float, Scalar
from ..numerics import Smooth, smooth
from .kernel_pairs import few_of

POINTS = 128  # quantiles of the residuals that stand for all of them


class LocationScale(NamedTuple):
    """Densities of location and scale.

    Attributes:
        location: h, smooth over the members.
        own: where h is each point's own mean instead [m].
        predict: that mean, or None.
        scale: log s.
        points: quantiles of the standardised residuals [p m].
        bandwidths: of the kernels there [p m].
    """

    location: Smooth
    own: Bool[Array, " m"]
    predict: Callable[[Array], Array] | None
    scale: Smooth
    points: Float[Array, "p m"]
    bandwidths: Float[Array, "p m"]

    def mean(self, points: Float[Array, "k d"]) -> Float[Array, "k m"]:
        """Return h."""
        found = self.location.at(points)
        return found if self.predict is None else jnp.where(self.own, self.predict(points), found)

    def log_density(
        self, y: Float[Array, "#k m"], members: Float[Array, "k d"]
    ) -> Float[Array, "k m"]:
        """Return log p(y_k | x_i)."""
        scale = self.scale.at(members)
        z = (y - self.mean(members)) / jnp.exp(scale)
        return _log_kde(z, self.points, self.bandwidths) - scale


def location_and_scale(
    members: Float[Array, "n d"],
    simulated: Float[Array, "n r m"],
    predict: Callable[[Array], Array] | None,
    widths: Float[Array, " b"],
    evidence: Scalar,
) -> tuple[LocationScale, Callable[[Array], Array], Bool[Array, " m"]]:
    """Return densities of location and scale, and where noise is not additive and Gaussian.

    Between the two: the log-density of some simulated measurements, moved by a little.
    """
    known = jnp.isfinite(simulated)
    rows, rounding = jnp.all(known, axis=1), _rounding(simulated, known)
    location, own, residuals, found = _located(members, simulated, rows, predict, widths, evidence)
    # an exact hit has no logarithm: nothing is known to be nearer than rounding
    logs = jnp.log(jnp.maximum(jnp.abs(residuals), rounding[None, None]))
    scale = smooth(members, jnp.mean(logs, axis=1), rows, widths, evidence)
    log_scale = scale.at(members)[:, None]
    z = residuals / jnp.exp(log_scale)
    flat = z.reshape(-1, z.shape[2])
    found = found | (scale.chosen > 0) | (_not_gaussian(flat) > evidence)
    # a component without noise has residuals of rounding, which say nothing
    found = found & (jnp.nanmean(jnp.abs(residuals), axis=(0, 1)) > 100 * rounding)
    points = _quantiles(flat)
    bandwidths = _bandwidths(points)

    def log_density(step: Float[Array, "c m"]) -> Float[Array, "c m"]:
        few, few_scales = few_of(z), few_of(jnp.broadcast_to(log_scale, z.shape))
        return _log_kde(few + step / jnp.exp(few_scales), points, bandwidths) - few_scales

    return LocationScale(location, own, predict, scale, points, bandwidths), log_density, found


def _located(
    members: Float[Array, "n d"],
    simulated: Float[Array, "n r m"],
    rows: Bool[Array, "n m"],
    predict: Callable[[Array], Array] | None,
    widths: Float[Array, " b"],
    evidence: Scalar,
) -> tuple[Smooth, Bool[Array, " m"], Float[Array, "n r m"], Bool[Array, " m"]]:
    """Return h, where it is each member's own mean, what is left, and where h is not linear.

    Of replicates it is not asked whether h is linear: the simulator is there to predict.
    """
    means, r = jnp.mean(simulated, axis=1), simulated.shape[1]
    location = smooth(members, means, rows, widths, evidence)
    residuals = simulated - location.at(members)[:, None]
    nowhere = jnp.zeros(means.shape[1], bool)
    if predict is None:
        return location, nowhere, residuals, location.chosen > 1
    deviations = simulated - means[:, None]
    error = jnp.nanmean(deviations**2, axis=(0, 1)) / (r - 1)  # of a member's own mean
    # a smooth h is better where its error is near that of a mean over r draws, as it has less noise
    own = location.error > 2 * error
    # a new measurement is further from a member's mean than those that made it
    residuals = jnp.where(own, ((r + 1) / (r - 1)) ** 0.5 * deviations, residuals)
    return location, own, residuals, nowhere


def _quantiles(z: Float[Array, "k m"]) -> Float[Array, "p m"]:
    """Return the residuals that stand for all."""
    # their number does not grow with the ensemble's: nor does the cost of a density
    levels = (jnp.arange(POINTS, dtype=z.dtype) + 0.5) / POINTS
    points = jnp.nanquantile(z, levels, axis=0)
    return jnp.where(jnp.isfinite(points), points, 0)


def _log_kde(
    z: Float[Array, "k m"], points: Float[Array, "p m"], bandwidths: Float[Array, "p m"]
) -> Float[Array, "k m"]:
    """Return the log-density of equally weighted kernels."""
    gaps = (z[:, None] - points[None]) / bandwidths[None]
    log_kernels = -0.5 * gaps**2 - jnp.log(bandwidths)[None]
    constant = jnp.log(jnp.asarray(points.shape[0] * (2 * jnp.pi) ** 0.5, z.dtype))
    return jax.nn.logsumexp(log_kernels, axis=1) - constant


def _not_gaussian(z: Float[Array, "k m"]) -> Float[Array, " m"]:
    """Return the square of a statistic that is N(0, 1) for Gaussian residuals.

    It compares mean log |z| and log of the standard deviation: for Gaussian z they differ by
    (log 2 + Euler's constant) / 2 = 0.635, and z's log |z| - z^2 / 2 has the variance 0.734.
    """
    known = jnp.isfinite(z) & (z != 0)
    mean = jnp.mean(jnp.log(jnp.abs(z)), axis=0, where=known)
    gap = mean - 0.5 * jnp.log(jnp.mean(z**2, axis=0, where=known))
    return jnp.sum(known, axis=0, dtype=z.dtype) * (gap + 0.635) ** 2 / 0.734


def _bandwidths(points: Float[Array, "p m"]) -> Float[Array, "p m"]:
    """Return kernel widths: half of Silverman's, in the tails the distance to the neighbours."""
    low, high = points[POINTS // 4], points[-1 - POINTS // 4]
    # 1.34 standard deviations are the interquartile range of a Gaussian
    least = 0.45 * POINTS**-0.2 * (high - low) / 1.34
    padded = jnp.pad(points, ((1, 1), (0, 0)), mode="edge")
    width = jnp.maximum(least[None], jnp.maximum(padded[2:] - points, points - padded[:-2]))
    return jnp.where(width > 0, width, 1)


def _rounding(simulated: Float[Array, "n r m"], known: Bool[Array, "n r m"]) -> Float[Array, " m"]:
    """Return the size of rounding of each component's values: the least residual there is."""
    size = jnp.max(jnp.where(known, jnp.abs(simulated), 0), axis=(0, 1))
    return jnp.finfo(simulated.dtype).eps * jnp.where(size > 0, size, 1)
