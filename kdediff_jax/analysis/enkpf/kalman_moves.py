r"""The moving part of the split stage: members after the Kalman share of the likelihood.

Every member is moved by a stochastic Kalman update of the noise R / g, with a gain of its own
neighbourhood where the members are few-dimensional: two modes get a gain each. A step that
overshoots, because h is flat around a member and steep further on, is cut back.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._checks import positive
from ..._typing import Array, Bool, Float, Key, Number, Scalar, like, tunable
from ...ensemble.covariance import Covariances, neighbourhoods, whole_ensemble
from ...ensemble.gains import centred_normals, kalman_step, secant
from ...numerics import Covariance, in_form_of, root_of_rows, safe_sqrt, solve_lower, whitened
from ...observations.gaussian_surrogate import GaussianSurrogate
from ..predict import Predicted


class LocalGain(eqx.Module):
    """Kalman gains from each member's neighbourhood.

    Args:
        width: of the neighbourhood, in units of the ensemble's spread; infinity for one gain from
            the whole ensemble.
        dimensions: coordinates up to which neighbourhoods are used. In more, those of any
            affordable ensemble are empty, and the whole ensemble gives the gain.

    Raises:
        ValueError: a width that is not positive.
    """

    width: Number = tunable(0.3)
    dimensions: int = eqx.field(static=True, default=8)

    def __check_init__(self) -> None:
        """Check the width."""
        positive("width", self.width, infinite=True)

    def __call__(
        self, anomalies: Float[Array, "n d"], deviations: Float[Array, "n m"]
    ) -> MemberGains:
        """Return the gains of every member.

        Args:
            anomalies: of the members.
            deviations: of their predictions, whitened.
        """
        overall = whole_ensemble(anomalies, deviations)
        n, d = anomalies.shape
        if d > self.dimensions:
            return MemberGains(overall)
        root = root_of_rows(anomalies / (n - 1) ** 0.5)
        standard = solve_lower(root, anomalies.T).T
        width = like(anomalies, self.width)
        finite = jnp.isfinite(width)
        near = neighbourhoods(standard, root, deviations, jnp.where(finite, width, 1))
        return MemberGains(overall, near, finite)


class MemberGains(NamedTuple):
    """The covariances behind the gain of every member.

    Attributes:
        overall: of the whole ensemble.
        near: around every member, if in use.
        local: whether the gains are those of neighbourhoods.
    """

    overall: Covariances
    near: Covariances | None = None
    local: Bool[Array, ""] | bool = False

    def step(self, pull: Float[Array, "n m"], share: Scalar) -> Float[Array, "n d"]:
        """Return the members' steps, see `kalman_step`."""
        step = kalman_step(self.overall, pull, share)
        if self.near is None:
            return step
        return jnp.where(self.local, kalman_step(self.near, pull, share), step)


class Surrogate(NamedTuple):
    """The measurement as a Gaussian gain may see it: y and R, or R's diagonal for a local gain.

    Missing components are cut off.
    """

    y: Float[Array, " m"]
    noise: Covariance

    def whitened(self, rows: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Return rows in which errors are independent, of unit variance."""
        return whitened(rows, self.noise)


def surrogate(forecast: Predicted, rule: GaussianSurrogate) -> Surrogate:
    """Return y and R as they are, or Gaussian sites where the density is known and not Gaussian."""

    def as_it_is() -> Surrogate:
        return Surrogate(forecast.y, forecast.noise)

    def sites() -> Surrogate:
        y, variance = _sites(forecast, rule)
        return Surrogate(y, in_form_of(forecast.noise, variance))

    return forecast.error_model.by_noise(as_it_is, sites)


def local_surrogate(forecast: Predicted, rule: GaussianSurrogate) -> Surrogate:
    """Return the same with the diagonal of R."""

    def as_it_is() -> Surrogate:
        return Surrogate(forecast.y, forecast.noise_variance)

    return forecast.error_model.by_noise(as_it_is, lambda: Surrogate(*_sites(forecast, rule)))


def _sites(forecast: Predicted, rule: GaussianSurrogate) -> tuple[Array, Array]:
    """Return y and variance of the Gaussian that stands for each component's density."""
    densities = forecast.log_components()
    return rule(
        forecast.y, forecast.predictions, densities, forecast.alive, forecast.noise_variance
    )


def kalman_moves(
    key: Key,
    forecast: Predicted,
    measurement: Surrogate,
    shares: Float[Array, " g"],
    gain: LocalGain,
) -> Float[Array, "g n d"]:
    """Return the members after each share of the likelihood.

    Args:
        key: for the perturbed measurements, the same for every share.
        forecast: members and predictions.
        measurement: y and R as the gain sees them.
        shares: g.
        gain: whose neighbourhoods give the gains.
    """
    members, measured = forecast.members, forecast.measured
    n, m = forecast.predictions.shape
    gains = gain(forecast.anomalies, measurement.whitened(forecast.deviations))
    innovations = measurement.whitened(forecast._replace(y=measurement.y).innovations)
    perturbation = centred_normals(key, n, m, members.dtype)
    perturbation = jnp.where(measured[None], perturbation, 0)

    def at(share: Array) -> Float[Array, "n d"]:
        pull = share * innovations + safe_sqrt(share) * perturbation
        step = gains.step(pull, share)
        response = forecast.at(members + step).predictions - forecast.predictions
        response = measurement.whitened(jnp.where(measured[None], response, 0))
        return members + step * secant(pull, response, share)

    return jax.vmap(at)(shares)
