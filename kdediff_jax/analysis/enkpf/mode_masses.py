r"""The hold-modes stage: masses of separate modes change only by more than sampling noise.

Weights of N members estimate the mass p = sum_i w_i 1_A(i) of a set A with a squared standard error
v = sum_i (w_i - u_i)^2 (1_A(i) - p)^2, u the equal weights that the change starts from. Inside one
mode the next forecast mixes such errors away; between separate modes nothing does. They add up from
cycle to cycle like genetic drift, until a mode that the measurements never spoke against is lost.

So the components are parted in two, weighted 2-means in standardised coordinates. Along the axis
that joins the centres a and b, the variance between over the variance within,

    I = p (1 - p) |a - b|^2 / within,

is 1.75 for a halved Gaussian, 3 for a halved uniform, and more for modes with a gap between them.
From 3 to 5 the rule fades in. Of the change delta = p - sum_i u_i 1_A(i) the part

    kept = max(0, 1 - threshold v / delta^2)                   (positive-part shrinkage, Stein 1956)

stays: nothing below threshold^(1/2) standard errors. Few members of one mode make a large error, so
a second witness can keep the change as well: the Gaussian log-likelihood ratio of the two clusters'
predictions, with their pooled covariance and R, for the cluster that gains. From odds of 20 to 400
it fades in. Ratios of weights inside a cluster stay as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from ..._checks import positive
from ..._typing import Array, Bool, Float, Number, Scalar, like, tunable
from ...ensemble.gaussian_update import misfit_rows
from ...numerics import Covariance, dot, eigh, safe_sqrt, split_missing, whitened
from ..predict import Predicted


class Clusters(NamedTuple):
    """Which components are in the first of two clusters, and I, how separate the two are."""

    first: Bool[Array, " n"]
    separation: Scalar


class ModeMasses(eqx.Module):
    """Limits of what weights may change of the masses of two separate modes, see above.

    Args:
        threshold: squared standard errors below which nothing of a change is kept; 0 keeps all.
        separation: I from which, and up to which, the rule fades in. An upper end between 4.5 and 7
            gives the same scores.
        odds: at which the second witness begins to keep a change.
        smallest_mass: of a cluster; below, there is nothing to scale up.
        iterations: of 2-means; it ends in fewer where there are two modes.

    Raises:
        ValueError: a number out of range.
    """

    threshold: Number = tunable(9.0)
    separation: Number = tunable((3.0, 5.0))
    odds: Number = tunable(20.0)
    smallest_mass: Number = tunable(1e-6)
    iterations: int = eqx.field(static=True, default=8)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("threshold", self.threshold, zero=True)
        positive("separation", self.separation)
        positive("odds", self.odds)
        positive("smallest_mass", self.smallest_mass)

    def __call__(
        self,
        means: Float[Array, "n d"],
        log_weights: Float[Array, " n"],
        forecast: Predicted,
        y: Float[Array, " m"],
        noise: Covariance,
    ) -> Float[Array, " n"]:
        """Return the log-weights, the masses of two separate modes changed no more than is known.

        Args:
            means: of the posterior's components, finite.
            log_weights: normalised.
            forecast: before the analysis.
            y: the measurement (its Gaussian surrogate); NaN components say nothing.
            noise: R likewise in any of its forms, missing components cut off.
        """
        weights, alive = jnp.exp(log_weights), forecast.alive
        equal = alive.astype(weights.dtype) / jnp.maximum(jnp.sum(alive, dtype=weights.dtype), 1)
        first, separation = clusters(means, weights, self.iterations)
        inside = first.astype(weights.dtype)
        mass, before = jnp.sum(weights * inside), jnp.sum(equal * inside)
        delta = mass - before
        variance = jnp.sum(((weights - equal) * (inside - mass)) ** 2)
        ratio = _log_ratio(equal, first, forecast.predictions, y, noise)
        kept = self._kept(delta, variance, jnp.sign(delta) * ratio)
        start, end = like(weights, self.separation)
        gate = jnp.clip((separation - start) / (end - start), 0, 1)
        target = before + (1 - gate * (1 - kept)) * delta
        least = like(weights, self.smallest_mass)
        possible = (delta != 0) & (jnp.minimum(mass, 1 - mass) > least)
        possible = possible & (before > 0) & (before < 1)

        def shift(new: Array, old: Array) -> Array:
            return jnp.log(jnp.where(possible, new / jnp.where(possible, old, 1), 1))

        change = jnp.where(first, shift(target, mass), shift(1 - target, 1 - mass))
        return jax.nn.log_softmax(log_weights + change)

    def _kept(self, delta: Scalar, variance: Scalar, log_ratio: Scalar) -> Scalar:
        """Return the part of a change that either witness keeps."""
        noise = variance / jnp.where(delta != 0, delta, 1) ** 2
        by_weights = jnp.clip(1 - like(delta, self.threshold) * noise, 0, 1)
        by_clusters = jnp.clip(log_ratio / jnp.log(like(delta, self.odds)) - 1, 0, 1)
        return jnp.maximum(by_weights, by_clusters)


def clusters(points: Float[Array, "n d"], weights: Float[Array, " n"], iterations: int) -> Clusters:
    """Return weighted 2-means, started by the sign along the first principal axis."""
    points, weights = lax.stop_gradient((points, weights))  # a part does not change by a little
    x = points - jnp.sum(weights[:, None] * points, axis=0, keepdims=True)
    variance = jnp.sum(weights[:, None] * x**2, axis=0, keepdims=True)
    x = jnp.where(variance > 0, x / safe_sqrt(variance, otherwise=1.0), 0)
    _, axes = eigh(dot((weights[:, None] * x).T, x))

    def centres(first: Array) -> tuple[Array, Array]:
        return _centre(jnp.where(first, weights, 0), x), _centre(jnp.where(first, 0, weights), x)

    def lloyd(_: int, first: Array) -> Array:
        a, b = centres(first)
        return jnp.sum((x - a) ** 2, axis=1) < jnp.sum((x - b) ** 2, axis=1)

    first = lax.fori_loop(0, iterations, lloyd, dot(x, axes[:, -1:])[:, 0] > 0)
    a, b = centres(first)
    mass = jnp.sum(jnp.where(first, weights, 0))
    along = dot(x - jnp.where(first[:, None], a, b), (a - b).T)[:, 0]
    squared = jnp.sum((a - b) ** 2)
    within = jnp.sum(weights * along**2)  # times |a - b|^2
    tiny = jnp.finfo(x.dtype).tiny
    return Clusters(first, mass * (1 - mass) * squared**2 / jnp.maximum(within, tiny))


def _log_ratio(
    equal: Array, first: Array, predictions: Array, y: Array, noise: Covariance
) -> Float[Array, ""]:
    """Return the Gaussian log-likelihood of the first cluster less that of the other."""
    known, measured = split_missing(y)
    predictions = jnp.where(measured[None], predictions, 0)
    a = _centre(jnp.where(first, equal, 0), predictions)
    b = _centre(jnp.where(first, 0, equal), predictions)
    within = predictions - jnp.where(first[:, None], a, b)
    rows = safe_sqrt(equal)[:, None] * within
    seen = whitened(jnp.concatenate([rows, known[None] - a, known[None] - b]), noise)
    far_a, far_b = jnp.sum(misfit_rows(seen[:-2], seen[-2:]) ** 2, axis=1)
    return 0.5 * (far_b - far_a)


def _centre(mass: Float[Array, " n"], x: Float[Array, "n k"]) -> Float[Array, "1 k"]:
    total = jnp.sum(mass)
    return jnp.sum(mass[:, None] * x, axis=0, keepdims=True) / jnp.where(total > 0, total, 1)
