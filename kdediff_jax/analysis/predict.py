r"""The first stage of every scheme: members and their predictions.

Members without a prediction, or with one far beyond all others, end here (`pairs`).

`predict` serves the schemes with an error model (h and R), `simulate` the paper's filter, which
sees simulated measurements alone.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._checks import vector
from .._typing import Array, Bool, Float, Key, Scalar
from ..numerics import (
    AbstractCovariance,
    Covariance,
    LinearFit,
    centred,
    masked_covariance,
    no_smaller,
    rarely,
    split_missing,
    variances,
    whitened,
)
from ..observations.base import AbstractObservation, sample_ensemble
from ..observations.error_model import ErrorModel, Simulated, paired
from ..observations.noise import AbstractNoise
from ..observations.recorded import SimulatedMeasurements, sample_replicates
from ..observations.simulated_density import SimulatedDensity
from .pairs import admit_pairs


class Predicted(NamedTuple):
    """A forecast and what it predicts of a measurement.

    Attributes:
        members: x_i [n d], in the state's units, finite.
        alive: which members take part [n]; the others are stand-ins.
        predictions: h(x_i) [n m], noise-free, in the units of y, finite.
        y: the measurement [m]; NaN components are missing.
        error_model: h and R.
        t: model time of the measurement; None where it is not known (`update`).

    `at` moves members and predictions; `_replace(members=...)` leaves the old predictions.
    """

    members: Float[Array, "n d"]
    alive: Bool[Array, " n"]
    predictions: Float[Array, "n m"]
    y: Float[Array, " m"]
    error_model: ErrorModel
    t: Scalar | None = None

    @property
    def count(self) -> Scalar:
        """Number of members that take part."""
        return jnp.sum(self.alive, dtype=self.members.dtype)

    @property
    def measured(self) -> Bool[Array, " m"]:
        """Which components are not missing."""
        return ~jnp.isnan(self.y)

    @property
    def noise(self) -> Covariance:
        """R in the form it has, with missing components cut off and given unit variance."""
        return masked_covariance(self.error_model.covariance, self.measured)

    @property
    def noise_variance(self) -> Float[Array, " m"]:
        """Diagonal of R, 1 in missing components: no matrix is formed."""
        return jnp.where(self.measured, variances(self.error_model.covariance), 1)

    def whitened(self, rows: Float[Array, "n m"]) -> Float[Array, "n r"]:
        """Return rows in which errors are independent, of unit variance, see `numerics.whitened`.

        What is compared has to be whitened together: an R without a factor gives each call
        coordinates of its own.
        """
        return whitened(rows, self.noise)

    @property
    def anomalies(self) -> Float[Array, "n d"]:
        """Members less their mean."""
        return centred(self.members)

    @property
    def deviations(self) -> Float[Array, "n m"]:
        """Predictions less their mean, 0 in missing components."""
        return jnp.where(self.measured[None], centred(self.predictions), 0)

    @property
    def mean_innovation(self) -> Float[Array, " m"]:
        """Measurement less mean prediction, 0 in missing components."""
        known, measured = split_missing(self.y)
        return jnp.where(measured, known - jnp.mean(self.predictions, axis=0), 0)

    @property
    def prediction_variance(self) -> Float[Array, " m"]:
        """P_hh of every component, 0 in missing components."""
        return jnp.sum(self.deviations**2, axis=0) / (self.predictions.shape[0] - 1)

    @property
    def innovation_variance(self) -> Float[Array, " m"]:
        """P_hh + R of every component: what the forecast expects of its squared innovation."""
        return self.prediction_variance + self.noise_variance

    @property
    def innovations(self) -> Float[Array, "n m"]:
        """Measurement less every member's prediction, 0 in missing components."""
        known, measured = split_missing(self.y)
        return jnp.where(measured[None], known[None] - self.predictions, 0)

    def log_components(self) -> Float[Array, "n m"]:
        """Return log p(y_k | x_i) of every component by itself, up to a constant of each."""
        return self.error_model.log_components(self.y, self.members, self.noise_variance)

    def resolved(self, localised: bool = False) -> Predicted:
        """Return the same, no component too precise for its floating type beside the others.

        Decompositions know singular values to eps times the largest, sqrt(P_kk / R_k): beside a
        component without noise nothing would be left of what the others say. With r the smallest
        P_kk / R_k, 0 of a missing component,

            R_k >= P_kk eps / (8 max(1, r)),     r <= 1 / eps,

        leaves what the others say right to .02 of the spread in float32, 1e-6 in float64. What is
        left of a spread is the next forecast's, so that later cycles know more.

        Args:
            localised: whether weights of their own make precisions unequal: r is then 0.
        """
        stated = self.error_model.covariance
        if isinstance(stated, AbstractCovariance):  # knows its own
            return self
        eps, variance = float(jnp.finfo(self.members.dtype).eps), self.prediction_variance
        own, floor = variances(stated), variance * (eps / 8)
        if not localised:
            ratio = variance / own
            floor = floor / jnp.clip(jnp.min(jnp.where(ratio > 0, ratio, 0)), 1, 1 / eps)
        covariance = rarely(
            ~jnp.all(own >= floor), lambda: no_smaller(stated, floor), lambda: stated
        )
        return self._replace(error_model=self.error_model._replace(covariance=covariance))

    def at(self, members: Float[Array, "n d"]) -> Predicted:
        """Return the same for members that have moved."""
        return self._replace(members=members, predictions=self.error_model.predict(members))


def predict(
    key: Key,
    forecast: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    y: Float[Array, " m"],
    observation: AbstractObservation,
    t: Scalar,
    noise: AbstractNoise,
    far_member: Scalar | float = jnp.inf,
    independent: bool = False,
) -> Predicted:
    """Return a finite forecast with its noise-free predictions and the error model.

    Args:
        key: for simulated measurements, where the rule needs some.
        forecast: members, finite.
        alive: members that take part.
        y: the measurement.
        observation: its simulator.
        t: model time of the measurement.
        noise: rule for the error model.
        far_member: see `Safeguards`.
        independent: whether the diagonal is enough of an R that has to be estimated.

    Raises:
        ValueError: a measurement of another size than the predictions.
    """
    simulated = noise(observation, key, forecast, t, independent)
    vector("y", y, simulated.values.shape[1])
    return _predicted(forecast, alive, simulated, y, far_member)._replace(t=t)


def predict_from_pairs(
    forecast: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    simulated: Float[Array, "n m"],
    y: Float[Array, " m"],
    density: SimulatedDensity,
    far_member: Scalar | float = jnp.inf,
    independent: bool = False,
) -> Predicted:
    """Return a `Predicted`, with h and R regressed on one simulated measurement per member.

    Args:
        forecast: members, finite.
        alive: members that take part.
        simulated: their simulated measurements.
        y: the measurement.
        density: how densities are estimated where noise is not additive and Gaussian.
        far_member: see `Safeguards`.
        independent: whether the diagonal is enough of R.
    """
    return _predicted(forecast, alive, paired(simulated, density, independent), y, far_member)


def _predicted(
    forecast: Array, alive: Array, simulated: Simulated, y: Array, far_member: Scalar | float
) -> Predicted:
    """Admit the members by what they predict, then form the error model of those that count."""
    pairs, known, fit = admit_pairs(forecast, alive, simulated.values, y, far_member)
    model = simulated.model(pairs.members, known)
    if simulated.noisy:  # h is linear there, and finite wherever the members are
        return Predicted(pairs.members, pairs.alive, model.predict(pairs.members), pairs.y, model)
    return Predicted(*pairs, _completed(model, fit))


def _completed(model: ErrorModel, fit: LinearFit) -> ErrorModel:
    """Return the model with what it cannot predict filled in by regression on the members."""

    def predict(points: Array) -> Array:
        h = model.predict(points)
        return jnp.where(jnp.isfinite(h), h, fit.at(points))

    return model._replace(predict=predict)


def simulate(
    key: Key,
    forecast: Float[Array, "n d"],
    observation: AbstractObservation,
    t: Scalar,
    replicates: int,
) -> Float[Array, "r n m"]:
    """Return simulated measurements, noise included, `replicates` of every member."""
    keys = jax.random.split(key, replicates)
    if isinstance(observation, SimulatedMeasurements):
        own = jax.random.split(keys[0], (forecast.shape[0], replicates))
        return jnp.moveaxis(sample_replicates(observation, own, forecast, t), 1, 0)
    return jax.vmap(lambda k: sample_ensemble(observation, k, forecast, t))(keys)
