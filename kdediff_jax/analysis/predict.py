r"""The first stage of every scheme: members, their predictions, and who of them takes part.

A member that is not finite, or whose prediction is not, can be neither moved nor weighed: it is
replaced by a copy of a sound one and marked. Bad members end here; no later stage meets one.

`predict` serves the schemes with an error model (h and R), `simulate` the paper's filter, which
sees simulated measurements alone.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._checks import vector
from .._typing import Array, Bool, Float, Key, Scalar
from ..numerics import centred, masked_covariance, split_missing
from ..observations.base import AbstractObservation, sample_ensemble
from ..observations.error_model import ErrorModel, from_pairs
from ..observations.noise import AbstractNoise


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

    Raises:
        ValueError: a measurement of another size than the predictions.
    """
    return _with_predictions(forecast, alive, y, noise(observation, key, forecast, t))


def predict_from_pairs(
    forecast: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    simulated: Float[Array, "n m"],
    y: Float[Array, " m"],
) -> Predicted:
    """Return a `Predicted`, with h and R regressed on one simulated measurement per member.

    Args:
        forecast: members, finite.
        alive: members that take part.
        simulated: their simulated measurements; a member whose row is not finite takes no part.
        y: the measurement.
    """
    forecast, simulated, alive = replace_pairs(forecast, simulated, alive)
    return _with_predictions(forecast, alive, y, from_pairs(forecast, simulated))


def _with_predictions(forecast: Array, alive: Array, y: Array, model: ErrorModel) -> Predicted:
    """Predict y, and replace the members that cannot."""
    predictions = model.predict(forecast)
    vector("y", y, predictions.shape[1])
    forecast, predictions, alive = replace_pairs(forecast, predictions, alive)
    return Predicted(forecast, alive, predictions, y, model)


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


def replace_dead(
    forecast: Float[Array, "n d"], alive: Bool[Array, " n"] | None = None
) -> tuple[Float[Array, "n d"], Bool[Array, " n"]]:
    """Return the ensemble with non-finite rows replaced by copies of finite ones, and the mask.

    Args:
        forecast: members.
        alive: members marked before; none by default.
    """
    finite = jnp.all(jnp.isfinite(forecast), axis=1)
    alive = finite if alive is None else alive & finite

    def replaced(forecast: Array) -> Array:
        n = forecast.shape[0]
        survivors = jnp.argsort(~alive, stable=True)
        index = jnp.arange(n)
        # a dead row i becomes a copy of survivor number i, counted round and round
        source = jnp.where(alive, index, survivors[index % jnp.maximum(jnp.sum(alive), 1)])
        stand_in = forecast[source]
        # with no survivor at all there is nothing to copy; the result is flagged by `guard`
        return jnp.where(jnp.isfinite(stand_in), stand_in, 0)

    # the sort is a good part of a small filter's time, and seldom needed
    return lax.cond(jnp.all(alive), lambda forecast: forecast, replaced, forecast), alive


def replace_pairs(
    forecast: Float[Array, "n d"], paired: Float[Array, "n k"], alive: Bool[Array, " n"]
) -> tuple[Float[Array, "n d"], Float[Array, "n k"], Bool[Array, " n"]]:
    """Return members and what belongs to each, bad rows replaced together: pairs stay pairs."""
    d = forecast.shape[1]
    both, alive = replace_dead(jnp.concatenate([forecast, paired], axis=1), alive)
    return both[:, :d], both[:, d:], alive
