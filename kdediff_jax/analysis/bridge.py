r"""Between ensemble Kalman and particle filter: how much of the likelihood each of them gets.

The likelihood is split, p(y | x) = p^g p^(1 - g) (Frei and Künsch 2013). The first factor moves
every member by a Kalman gain, with the noise R / g; a step that overshoots is cut back. The second
weighs the moved members through the covariance kernel. g = 1 is a stochastic EnKF, g = 0 the kernel
filter alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import kde, latents
from .._checks import choice, concrete, positive
from .._linalg import cholesky, solve_lower
from .._typing import Array, Bool, Float, Key, Number, Scalar, like, tunable
from ..bandwidths import silverman
from . import gains
from .covariance_kernel import Components, condition, floored_root, masked_noise
from .gains import dot
from .inflation import SamplingInflation, check_inflation, resolve_inflation
from .innovations import adapt
from .modes import settle
from .noise import KINDS, Measurement
from .shares import SHARES, choose, features
from .sites import gaussian_sites
from .weighted_kernel import mix

DOUBT = 0.3
LEAST_LOSS = 0.15  # for the width: with less, runs of few members are less robust
PRODUCTS_UP_TO = 32  # coordinates; in more, pairs of them cost more memory than the ensemble


class CovarianceKernel(eqx.Module):
    r"""Settings of the covariance kernel; by default every one chooses itself.

    Weights carry sampling noise: of the posterior variance in each of d coordinates, about
    1 / ESS - 1 / N of it. Kalman shares of 0, .1, .25, .5 and .75 are considered where the sum over
    coordinates is below `noise_budget`, ESS >= N / (1 + noise_budget N / d), and of these and 1 the
    largest is taken that no smaller one contradicts by more than a part of that noise (see
    `kdediff_jax.analysis.shares`): where the forecast is Gaussian an ensemble Kalman filter, where
    it is not, and members suffice, a particle filter. The kernel replaces the diversity that such
    weights cost: h = 1/2 Silverman sqrt(1 - ESS / N), at least what a loss of 15 % gives. With that
    width its covariance is between the forecast's and that of the weighted members, see
    `kdediff_jax.analysis.weighted_kernel`; with a given one it is the forecast's.

    Args:
        kalman_share: g in [0, 1], or None for the rule above.
        noise_budget: see above.
        evidence: how much the moments of two shares may differ: mean square, over the sampling
            noise that the weights add, summed over coordinates.
        locality: width of the neighbourhood from which a member's Kalman gain is estimated, in
            units of the ensemble's spread; infinity for one gain from the whole ensemble. Above 8
            dimensions the whole ensemble is used.
        surprise: the forecast is widened where its innovation is more than this many standard
            deviations above what chi-square allows and a wider one makes the measurement likelier,
            see `kdediff_jax.analysis.innovations`; infinity for never.
        doubt: standard deviation of log f^2, f the factor by which a forecast's spread may be
            wrong, before its innovation is seen; 0 for no doubt. By default 0.3, and 0.5 where
            there is a localisation.
        caution: where the posterior has two separate modes, the weights change their masses only by
            what is beyond this many squared standard errors, see `kdediff_jax.analysis.modes`;
            0 for as they are. Not where there is a localisation.
        members_per_direction: effective members for each of d + 1 directions from which on the
            kernel's covariance is in part that of the weighted members; infinity for never. Not
            where there is a localisation.
        rotation: angle in radians of the random rotations of the analysis anomalies, 0 for none.
            Only where there is a localisation.
        inflation: factor of the analysis anomalies, or a rule.
        noise: "known", "sampled" or "auto", see `kdediff_jax.analysis.noise`.

    Raises:
        ValueError: a number out of range, an unknown option.
    """

    kalman_share: Number = tunable(None)
    noise_budget: Number = tunable(0.1)
    evidence: Number = tunable(0.1)
    locality: Number = tunable(0.3)
    surprise: Number = tunable(4.0)
    doubt: Number = tunable(None)
    caution: Number = tunable(9.0)
    members_per_direction: Number = tunable(3.0)
    rotation: Number = tunable(0.9)
    inflation: Any = tunable(default_factory=SamplingInflation)
    noise: str = eqx.field(static=True, default="auto")

    def __check_init__(self) -> None:
        """Check the options and the values that are known."""
        choice("noise", self.noise, KINDS)
        positive("noise_budget", self.noise_budget)
        positive("evidence", self.evidence, zero=True)
        if self.doubt is not None:
            positive("doubt", self.doubt, zero=True)
        positive("caution", self.caution, zero=True)
        positive("rotation", self.rotation, zero=True)
        check_inflation(self.inflation)
        for name in ("locality", "surprise", "members_per_direction"):
            known = concrete(getattr(self, name))
            if known is not None and not (known > 0).all():
                raise ValueError(f"{name}: expected a positive number, got {known.tolist()}")
        share = None if self.kalman_share is None else concrete(self.kalman_share)
        if share is not None and not ((share >= 0) & (share <= 1)).all():
            raise ValueError(f"kalman_share: expected a number in [0, 1], got {share.tolist()}")

    def target(self, n: int, d: int) -> Scalar:
        """Return the smallest ESS / N that the weights may leave."""
        return 1 / (1 + jnp.asarray(self.noise_budget) * n / d)

    def width(self, n: int, d: int, lost: Scalar) -> Scalar:
        """Return h, given the share 1 - ESS / N of the members that the weights cost."""
        return min(0.5 * silverman(n, d), 1.0) * jnp.sqrt(lost)


class Bridged(NamedTuple):
    """The mixture to draw from, the share taken, and the factor of the anomalies afterwards."""

    components: Components
    share: Scalar
    inflation: Scalar


def bridge(
    settings: CovarianceKernel,
    key: Key,
    members: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    y: Float[Array, " m"],
    measurement: Measurement,
    width: Array | None,
) -> Bridged:
    """Return the posterior mixture of a forecast.

    Args:
        settings: see `CovarianceKernel`.
        key: for the perturbed measurements of the Kalman share.
        members: finite forecast.
        alive: members of no weight are False.
        y: the measurement; NaN components say nothing.
        measurement: prediction and noise.
        width: h, or None for the rule.
    """
    n, d = members.shape
    bound = settings.width(n, d, 1 - settings.target(n, d))
    h = like(members, bound if width is None else width)
    measured = ~jnp.isnan(y)
    noise = masked_noise(measurement.covariance, measured)
    rules = settings.surprise, DOUBT if settings.doubt is None else settings.doubt
    members = adapt(members, alive, y, measurement, noise, *rules)
    predicted = measurement.predict(members)
    told = y
    if measurement.log_likelihood is not None:
        each = measurement.log_components(y, members, jnp.diagonal(noise))
        told, variance = gaussian_sites(y, predicted, each, alive, jnp.diagonal(noise))
        noise = jnp.diag(variance)
    anomalies, deviations = _centred(members), jnp.where(measured[None], _centred(predicted), 0)
    overall = gains.whole_ensemble(anomalies, deviations)
    covariances = overall
    if d <= gains.LOCAL_UP_TO:
        covariances = _local(anomalies, deviations, settings.locality, overall)
    innovation = jnp.where(measured[None], jnp.where(measured, told, 0)[None] - predicted, 0)
    draws = latents.draw(key, n, y.shape[0], members.dtype, "independent-matched")
    draws = latents.uncorrelated(draws, anomalies)
    perturbation = jnp.where(measured[None], dot(draws, cholesky(noise).T), 0)

    def at(share: Scalar, h: Scalar = h) -> Components:
        pull = share * innovation + jnp.sqrt(share) * perturbation
        step = dot(gains.gain(covariances, noise, share), pull[:, :, None])[:, :, 0]
        response = measurement.predict(members + step) - predicted
        response = jnp.where(measured[None], response, 0)
        step = step * gains.secant(pull, response, noise, share)
        moved = members + step
        posterior = condition(moved, alive, y, measurement, h, 1 - share)
        if width is not None:
            return posterior
        particles = condition(moved, alive, y, measurement, 0.0, 1 - share)
        return mix(posterior, particles, h, settings.members_per_direction)

    if settings.kalman_share is None:
        shares = jnp.asarray(SHARES, members.dtype)
        several = jax.vmap(at)(shares)
        sizes = jax.vmap(kde.effective_sample_size)(several.log_weights)
        usable = jnp.sum(alive, dtype=members.dtype)
        allowed = sizes >= like(members, settings.target(n, d)) * usable
        estimates = features(several.means, several.log_weights, d <= PRODUCTS_UP_TO, several.root)
        noise_of_weights = d * (1 / sizes - 1 / usable)
        place = choose(estimates, noise_of_weights, allowed, like(members, settings.evidence))
        share = shares[place]
        lost = jnp.maximum(1 - sizes[place] / usable, LEAST_LOSS)
        h = like(members, settings.width(n, d, lost)) if width is None else h
        components = at(share, h)
    else:
        share = like(members, settings.kalman_share)
        components = at(share)
    settled = settle(*components[:2], alive, predicted, told, noise, settings.caution)
    components = components._replace(log_weights=settled)
    factor = resolve_inflation(settings.inflation, overall.signal[0], noise, n)
    return Bridged(components, share, factor)


def _centred(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    return x - jnp.mean(x, axis=0, keepdims=True)


def _local(
    anomalies: Array, deviations: Array, locality: Any, overall: gains.Covariances
) -> gains.Covariances:
    """Return a gain's covariances per member; infinite locality is the whole ensemble."""
    n = anomalies.shape[0]
    root = floored_root(dot(anomalies.T, anomalies) / (n - 1))
    whitened = solve_lower(root, anomalies.T).T
    width = like(anomalies, locality)
    finite = jnp.isfinite(width)
    near = gains.neighbourhoods(whitened, root, deviations, jnp.where(finite, width, 1))
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), near, overall)
