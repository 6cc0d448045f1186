r"""The first stage of every scheme: members and their predictions.

Members without a prediction, or with one far beyond all others, end here (`members`).

`predict` serves the schemes with an error model (h and R), `simulate` the paper's filter, which
sees simulated measurements alone.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._checks import vector
from .._typing import Array, Bool, Float, Key, Scalar, like
from ..numerics import LinearFit, centred, linear_fit, masked_covariance, split_missing
from ..observations.base import AbstractObservation, sample_ensemble
from ..observations.error_model import ErrorModel, from_pairs
from ..observations.noise import AbstractNoise
from .members import far_members, replace_pairs


class Predicted(NamedTuple):
    """A forecast and what it predicts of a measurement.

    Attributes:
        members: x_i [n d], in the state's units, finite.
        alive: which members take part [n]; the others are stand-ins.
        predictions: h(x_i) [n m], noise-free, in the units of y, finite.
        y: the measurement [m]; NaN components are missing.
        error_model: h and R [m m].

    `at` moves members and predictions; `_replace(members=...)` leaves the old predictions.
    """

    members: Float[Array, "n d"]
    alive: Bool[Array, " n"]
    predictions: Float[Array, "n m"]
    y: Float[Array, " m"]
    error_model: ErrorModel

    @property
    def count(self) -> Scalar:
        """Number of members that take part."""
        return jnp.sum(self.alive, dtype=self.members.dtype)

    @property
    def measured(self) -> Bool[Array, " m"]:
        """Which components are not missing."""
        return ~jnp.isnan(self.y)

    @property
    def noise(self) -> Float[Array, "m m"]:
        """R, with missing components cut off and given unit variance."""
        return masked_covariance(self.error_model.covariance, self.measured)

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
    def innovation_variance(self) -> Float[Array, " m"]:
        """P_hh + R of every component: what the forecast expects of its squared innovation."""
        n = self.predictions.shape[0]
        return jnp.sum(self.deviations**2, axis=0) / (n - 1) + jnp.diagonal(self.noise)

    @property
    def innovations(self) -> Float[Array, "n m"]:
        """Measurement less every member's prediction, 0 in missing components."""
        known, measured = split_missing(self.y)
        return jnp.where(measured[None], known[None] - self.predictions, 0)

    def log_components(self) -> Float[Array, "n m"]:
        """Return log p(y_k | x_i) of every component by itself, up to a constant of each."""
        return self.error_model.log_components(self.y, self.members, jnp.diagonal(self.noise))

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

    Raises:
        ValueError: a measurement of another size than the predictions.
    """
    model = noise(observation, key, forecast, t)
    predictions = model.predict(forecast)
    vector("y", y, predictions.shape[1])
    usable = alive & usable_rows(predictions, y, far_member)
    y = predicted_components(y, predictions, usable)
    fit = regression_of(forecast, predictions, usable)
    predictions = jnp.where(jnp.isfinite(predictions), predictions, fit.at(forecast))
    forecast, predictions, alive = replace_pairs(forecast, predictions, usable)
    return Predicted(forecast, alive, predictions, y, _completed(model, fit))


def predict_from_pairs(
    forecast: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    simulated: Float[Array, "n m"],
    y: Float[Array, " m"],
    far_member: Scalar | float = jnp.inf,
) -> Predicted:
    """Return a `Predicted`, with h and R regressed on one simulated measurement per member.

    Args:
        forecast: members, finite.
        alive: members that take part.
        simulated: their simulated measurements.
        y: the measurement.
        far_member: see `Safeguards`.
    """
    usable = alive & usable_rows(simulated, y, far_member)
    y = predicted_components(y, simulated, usable)
    fit = regression_of(forecast, simulated, usable)
    finite = jnp.isfinite(simulated)
    filled = jnp.where(finite, simulated, fit.at(forecast))
    forecast, filled, alive = replace_pairs(forecast, filled, usable)
    # what was filled in says nothing of the noise
    model = from_pairs(forecast, jnp.where(finite | ~usable[:, None], filled, jnp.nan))
    # a linear h is finite wherever the members are: nothing is left to replace
    return Predicted(forecast, alive, model.predict(forecast), y, model)


def usable_rows(
    values: Float[Array, "n m"], y: Float[Array, " m"], far_member: Scalar | float
) -> Bool[Array, " n"]:
    """Return the members that predict at least half of what is measured, and nothing absurd.

    Args:
        values: predictions or simulated measurements.
        y: the measurement.
        far_member: see `Safeguards`.
    """
    measured = ~jnp.isnan(y)[None]
    finite = jnp.isfinite(values)
    enough = 2 * jnp.sum(finite & measured, axis=1) >= jnp.sum(measured)
    # what is not measured may be as far as it likes
    known = (finite & enough[:, None]) | ~measured
    return enough & ~far_members(jnp.where(measured, values, 0), known, like(values, far_member))


def predicted_components(
    y: Float[Array, " m"], predictions: Float[Array, "n m"], usable: Bool[Array, " n"]
) -> Float[Array, " m"]:
    """Return y without the components that no member predicts: they compare with nothing."""
    return jnp.where(jnp.any(jnp.isfinite(predictions) & usable[:, None], axis=0), y, jnp.nan)


def regression_of(
    forecast: Float[Array, "n d"], predictions: Float[Array, "n m"], usable: Bool[Array, " n"]
) -> LinearFit:
    """Return the regression of predictions on members, of use where some are not finite; else 0.

    A member without a prediction of one component, as where h takes the root of a negative number,
    keeps its say on the others: what is missing follows from the state.

    Args:
        forecast: finite members.
        predictions: of theirs.
        usable: members to learn from.
    """
    finite = jnp.isfinite(predictions)

    def fitted() -> LinearFit:
        return linear_fit(forecast, predictions, finite & usable[:, None])

    def none() -> LinearFit:
        fit = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(fitted))
        return fit._replace(scale=jnp.ones_like(fit.scale))

    return lax.cond(jnp.all(finite), none, fitted)


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
    return jax.vmap(lambda k: sample_ensemble(observation, k, forecast, t))(keys)
