r"""The error model: a measurement as a noise-free prediction and the covariance of its noise.

Every Kalman scheme works with y = h(x) + e, Cov[e] = R. `ErrorModel` holds h and R, wherever they
come from: stated by the observation, estimated from repeated simulated measurements, or from the
pairs (x_i, y_i) of an archive by linear regression. Which of them is the choice of a rule in
`kdediff_jax.observations.noise`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, Bool, Float, Key, Scalar, like
from ..numerics import (
    AbstractCovariance,
    Covariance,
    dot,
    in_batches,
    linear_fit,
    rarely,
    shrunk_rows,
    split_missing,
)
from .additive import AbstractAdditive, AbstractAdditiveNoise
from .base import AbstractLikelihood, AbstractObservation
from .recorded import sample_replicates
from .rows import over_members
from .simulated_density import SimulatedDensity

T = TypeVar("T")
AT_ONCE = 64  # components whose densities are asked for together


class ErrorModel(NamedTuple):
    """What a scheme with a Kalman gain needs to know of a measurement.

    Attributes:
        predict: members [n d] -> noise-free predictions h(x_i) [n m], in the units of y.
        covariance: R of the noise as a matrix, its blocks [b s s], a structure, or its diagonal
            where errors are independent, or where a scheme asks for no more.
        log_likelihood: (y, members) -> log p(y | x_i) [n], where the density is known and not
            Gaussian, else None.
        components: (y, members) -> log p(y_k | x_i) [n m], where the density of each component is
            known, or estimated.
        additive: whether the noise is Gaussian with covariance R after all; only read where there
            is a density.
        regressed: whether h is a regression on the members, which is known among them only.
        correlated: whether R is stated as more than a diagonal: what lies off it is no chance.
    """

    predict: Callable[[Float[Array, "n d"]], Float[Array, "n m"]]
    covariance: Covariance
    log_likelihood: Callable[[Array, Array], Array] | None = None
    components: Callable[[Array, Array], Array] | None = None
    additive: Bool[Array, ""] | bool = False
    regressed: bool = False
    correlated: bool = False

    def moments(self) -> ErrorModel:
        """Return h and R alone, for a scheme that asks for no density."""
        return self._replace(log_likelihood=None, components=None)

    def by_noise(self, gaussian: Callable[[], T], density: Callable[[], T]) -> T:
        """Return what follows from h and R, or from the density where noise is not additive."""
        if self.log_likelihood is None and self.components is None:
            return gaussian()
        if self.additive is False:
            return density()
        return rarely(jnp.logical_not(self.additive), density, gaussian)

    def log_density(
        self, y: Float[Array, " m"], members: Float[Array, "n d"]
    ) -> Float[Array, " n"]:
        """Return log p(y | x_i), up to a constant, where there is a density."""
        if self.log_likelihood is not None:
            return self.log_likelihood(y, members)
        assert self.components is not None
        return jnp.sum(self.components(y, members), axis=1)

    def log_components(
        self, y: Float[Array, " m"], members: Float[Array, "n d"], variance: Float[Array, " m"]
    ) -> Float[Array, "n m"]:
        """Return log p(y_k | x_i) of every component by itself, up to a constant of each.

        Args:
            y: the measurement; NaN components get 0.
            members: x_i.
            variance: of the noise, positive; used where its density is not known.
        """
        known, measured = split_missing(y)

        def gaussian() -> Array:
            return -0.5 * (known[None] - self.predict(members)) ** 2 / variance[None]

        def density() -> Array:
            if self.components is not None:
                return self.components(y, members)
            assert self.log_likelihood is not None
            return component_densities(self.log_likelihood, y, members)

        return jnp.where(measured[None], self.by_noise(gaussian, density), 0)


class Simulated(NamedTuple):
    """What the members predict, before it is known whose predictions count.

    Attributes:
        values: what each member predicts [n m], in the units of y.
        model: (members [n d], which values count [n m]) -> the error model.
        noisy: whether the values are measurements, noise included, and no predictions.
    """

    values: Float[Array, "n m"]
    model: Callable[[Array, Array], ErrorModel]
    noisy: bool = False


def stated(observation: AbstractAdditive, forecast: Float[Array, "n d"], t: Scalar) -> Simulated:
    """Return what the observation states, whoever counts."""
    model = from_statement(observation, forecast, t)
    return Simulated(model.predict(forecast), lambda *_: model)


def paired(
    simulated: Float[Array, "n m"], density: SimulatedDensity, independent: bool = False
) -> Simulated:
    """Return one simulated measurement per member, to be regressed on the members that count."""

    def model(members: Array, known: Array) -> ErrorModel:
        counting = jnp.where(known, simulated, jnp.nan)
        components = density(members, counting[:, None])
        found = from_pairs(members, counting, independent)
        return found._replace(components=components, additive=~components.depends)

    return Simulated(simulated, model, noisy=True)


def from_statement(
    observation: AbstractAdditive, forecast: Float[Array, "n d"], t: Scalar
) -> ErrorModel:
    """Return h and R as the observation states them, and its density where it is not Gaussian.

    Raises:
        ValueError: an R of another shape.
    """

    def mean(points: Array) -> Array:
        return over_members(observation, lambda o, x: o.mean(x, t))(points)

    m = jax.eval_shape(mean, forecast).shape[1]
    r = _stated_covariance(observation, m, forecast.dtype, t)
    model = ErrorModel(mean, r, correlated=isinstance(r, AbstractCovariance) or r.ndim > 1)
    if observation.gaussian:
        return model
    if isinstance(observation, AbstractAdditiveNoise):
        model = model._replace(components=_components(observation, t))
    return model._replace(log_likelihood=density(observation, t))


def _stated_covariance(
    observation: AbstractAdditive, m: int, dtype: jnp.dtype, t: Scalar
) -> Covariance:
    """Return R, checked, an operator in a form that the schemes know."""
    r = observation.covariance(m, dtype, t)
    if not isinstance(r, (jax.Array, np.ndarray)):
        # imported where there is an operator: it takes its time
        from ..numerics.structured_covariance import covariance_of_operator

        r = covariance_of_operator(r, m, dtype)
    if isinstance(r, AbstractCovariance):
        return r
    blocks = r.ndim == 3 and r.shape[1] == r.shape[2] and r.shape[0] * r.shape[1] == m
    if r.shape not in ((m,), (m, m)) and not blocks:
        raise ValueError(
            f"observation: expected `covariance` to return shape ({m},), ({m}, {m}), a `lineax` "
            f"operator, or blocks (b, s, s) with b s = {m}, got {r.shape}"
        )
    return jnp.asarray(r)


def _components(
    observation: AbstractAdditiveNoise, t: Scalar
) -> Callable[[Array, Array], Float[Array, "n m"]]:
    """Return (y, members) -> log p(y_k | x_i), where noise is independent."""

    def each(y: Array, members: Array) -> Array:
        return over_members(observation, lambda o, x: o.log_components(y, x, t))(members)

    return each


def replicated(
    observation: AbstractObservation,
    key: Key,
    forecast: Float[Array, "n d"],
    t: Scalar,
    replicates: int,
    density: SimulatedDensity,
    independent: bool = False,
) -> Simulated:
    """Return h as the mean of some simulated measurements per member, R as their pooled covariance.

    The keys belong to the member: a member that moves meets the same noise. A member that does not
    count says nothing of R. Of R the diagonal alone is formed where `independent` says so.

    Raises:
        TypeError: `sample` returns None, a tuple or integers.
        ValueError: `sample` does not return a vector of at least one component.
    """
    keys = jax.random.split(key, (forecast.shape[0], replicates))

    def simulate(points: Array) -> Array:
        # the same noise again, on purpose: `clone` says so to JAX's checker
        return sample_replicates(observation, jax.random.clone(keys), points, t)

    simulated = simulate(forecast)
    values = jnp.mean(simulated, axis=1)

    def predict(points: Array) -> Array:
        return jnp.mean(simulate(points), axis=1)

    def model(members: Array, known: Array) -> ErrorModel:
        counting = jnp.where(known[:, None], simulated, jnp.nan)
        components = density(members, counting, predict)
        residual = counting - values[:, None]
        correction = replicates / (replicates - 1)
        freedom = forecast.shape[0] * (replicates - 1)
        covariance = _pooled(residual, correction, counting, freedom, independent)
        return ErrorModel(predict, covariance, None, components, ~components.depends)

    return Simulated(values, model)


def from_pairs(
    forecast: Float[Array, "n d"], simulated: Float[Array, "n m"], independent: bool = False
) -> ErrorModel:
    """Return prediction and noise from one simulated measurement per member, and no simulator.

    h is the linear regression of the measurements on the members, with a ridge of one member's
    weight; R is the covariance of its residuals, with the regression's degrees of freedom. Values
    that are not finite take no part. Of R the diagonal alone is formed where `independent` says so.
    """
    n, known = forecast.shape[0], jnp.isfinite(simulated)
    fit = linear_fit(forecast, simulated, known)
    residual = jnp.where(known, simulated - fit.at(forecast), jnp.nan)
    correction = n / jnp.maximum(n - 1 - fit.freedom, 1)
    freedom = max(n - 1 - forecast.shape[1], 1)
    covariance = _pooled(residual[:, None], correction, simulated[:, None], freedom, independent)
    return ErrorModel(fit.at, covariance, regressed=True)


def _pooled(
    residual: Float[Array, "n r m"],
    correction: Scalar | float,
    simulated: Float[Array, "n r m"],
    freedom: int,
    independent: bool,
) -> Covariance:
    """Return the mean product of residuals times a correction for the freedom that they lack.

    A residual that is not finite does not count; nor do the others of its member in its component.
    Each component is divided by its own count, which leaves the covariance definite. Fewer
    residuals than components leave it singular: then it is shrunk, and no matrix is formed.

    Args:
        residual: r of every member, in every component.
        correction: of the variances.
        simulated: what they are residuals of.
        freedom: how many of them are independent.
        independent: whether the diagonal is enough.
    """
    known = jnp.all(jnp.isfinite(residual), axis=1)
    count = jnp.maximum(jnp.sum(known, axis=0), 1) * residual.shape[1]
    scale = jnp.sqrt(correction / like(residual, count))
    scaled = jnp.where(known[:, None], residual, 0) * scale[None, None]
    scaled = scaled.reshape(-1, residual.shape[2])
    variance = jnp.sum(scaled**2, axis=0)
    floor = _floor(variance, simulated)
    if independent:
        return variance + floor
    if freedom < residual.shape[2]:
        return shrunk_rows(scaled, floor, freedom)
    return dot(scaled.T, scaled) + jnp.diag(floor)


def component_densities(
    log_likelihood: Callable[[Array, Array], Array],
    y: Float[Array, " m"],
    members: Float[Array, "n d"],
) -> Float[Array, "n m"]:
    """Return log p(y_k | x_i) of every component by itself.

    NaN components say nothing: a measurement of one component has that one's density.

    Args:
        log_likelihood: (y, members) -> log p(y | x_i) [n].
        y: the measurement.
        members: x_i.
    """
    places = jnp.arange(y.shape[0])

    def single(place: Array) -> Float[Array, " n"]:
        return log_likelihood(jnp.where(places == place, y, jnp.nan), members)

    return in_batches(single, places, AT_ONCE).T


def density(observation: AbstractLikelihood, t: Scalar) -> Callable[[Array, Array], Array]:
    """Return (y, members) -> log p(y | x_i) [n]."""

    def log_likelihood(y: Array, members: Array) -> Array:
        return over_members(observation, lambda o, x: o.log_likelihood(y, x, t))(members)

    return log_likelihood


def _floor(variance: Float[Array, " m"], simulated: Float[Array, "n r m"]) -> Float[Array, " m"]:
    """Return a floor of the variances: a component without noise is known to rounding only.

    Rounding is that of the component's own simulated values, whatever the units of the others.
    """
    eps = jnp.finfo(variance.dtype).eps
    usable = jnp.where(jnp.isfinite(simulated), jnp.abs(simulated), 0)
    rounding = (4 * eps * jnp.max(usable, axis=(0, 1))) ** 2
    floor = 10 * eps * variance + rounding
    return jnp.where(floor > 0, floor, eps)
