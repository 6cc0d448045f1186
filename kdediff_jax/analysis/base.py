"""The analysis protocol: one call, one `AnalysisInfo`, the same guards for every scheme."""

from __future__ import annotations

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import ensemble, has_method, same_members, vector
from .._typing import Array, Bool, Float, Int, Key, Scalar, like, numbers_to_leaves
from ..observations import AbstractNoise, AbstractObservation
from .predict import Predicted, predict, predict_from_pairs, replace_dead
from .units import in_units, units_of


class AnalysisInfo(NamedTuple):
    """What an analysis reports; the same fields for every scheme.

    Attributes:
        ess: effective sample size of the weights, 1 to N (N for schemes without weights). A
            handful means that the weights have collapsed.
        num_steps: accepted solver steps (0 without a solve).
        num_rejected: rejected solver steps.
        ok: the solve succeeded, the analysis is finite and at least two members were usable.
        num_masked: non-finite members (or predictions) that were left out.
        mean: the scheme's best estimate of the posterior mean: SIR's weighted mean before
            resampling, elsewhere the mean of the analysis ensemble.
    """

    ess: Scalar
    num_steps: Int[Array, ""]
    num_rejected: Int[Array, ""]
    ok: Bool[Array, ""]
    num_masked: Int[Array, ""]
    mean: Float[Array, " d"]


class Outcome(NamedTuple):
    """What a scheme's own `analyse` returns, before the common guards.

    Attributes:
        ensemble: equally weighted analysis members.
        mean: estimate of the posterior mean.
        ess: effective sample size.
        alive: which members were usable (finite, and finite predictions where those were drawn).
        num_steps, num_rejected, ok: the solver's report, for schemes with a solve.
    """

    ensemble: Float[Array, "n d"]
    mean: Float[Array, " d"]
    ess: Scalar
    alive: Bool[Array, " n"]
    num_steps: Int[Array, ""] | int = 0
    num_rejected: Int[Array, ""] | int = 0
    ok: Bool[Array, ""] | bool = True


class AbstractAnalysis(eqx.Module):
    """Turns a forecast ensemble and a measurement into an analysis ensemble.

    A new scheme subclasses this or, if it works from h and R, `AbstractKalmanAnalysis`; its line in
    `tests/schemes.py` has it tested, one in `__init__.pyi` makes it public.

    A scheme implements `analyse`; calling it adds the guards that all share: shapes are checked,
    non-finite members are replaced by copies of finite ones and marked, an all-NaN measurement
    leaves the forecast as it is, bit for bit, and failure is a flag, never an exception.
    """

    @abc.abstractmethod
    def analyse(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar,
    ) -> Outcome:
        """Return the analysis of a finite forecast; rows where `alive` is False are stand-ins."""

    def __call__(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar | float = 0.0,
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        """Assimilate one measurement.

        It is compiled on first use: a call outside of `jit` is one program, not hundreds.

        Args:
            key: random key.
            forecast: equally weighted members before the measurement.
            y: the measurement; NaN components say nothing.
            observation: the measurement's simulator (SIR: with a likelihood).
            t: model time of the measurement.

        Returns:
            analysis ensemble [n d] and `AnalysisInfo`.

        Raises:
            ValueError: shapes that do not fit, fewer than two members.
            TypeError: a non-floating dtype, or an observation of the wrong kind.
        """
        forecast = ensemble("forecast", forecast)
        y = like(forecast, vector("y", y))
        has_method("observation", observation, "sample")
        scheme, observation = numbers_to_leaves((self, observation))
        return scheme._guarded(key, forecast, y, observation, like(forecast, t))

    @eqx.filter_jit
    def _guarded(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar,
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        members, alive = replace_dead(forecast)
        return guard(forecast, y, self.analyse(key, members, alive, y, observation, t))


class AbstractPairedAnalysis(AbstractAnalysis):
    """A scheme that can also do without a simulator: pairs (x_i, y_i) of an archive are enough."""

    @abc.abstractmethod
    def analyse_pairs(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        simulated: Float[Array, "n m"],
        y: Float[Array, " m"],
    ) -> Outcome:
        """Return the analysis of a finite forecast, given one simulated measurement per member."""

    def update(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        predicted: Float[Array, "n m"],
        y: Float[Array, " m"],
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        """Condition on y given the pairs alone: the black-box core, with no simulator.

        It is compiled on first use, as a call is.

        Args:
            key: random key.
            forecast: members x_i.
            predicted: one simulated measurement y_i per member, noise included.
            y: the measurement; NaN components say nothing.

        Returns:
            analysis ensemble [n d] and `AnalysisInfo`.

        Raises:
            ValueError: shapes that do not fit, fewer than two members.
            TypeError: a non-floating dtype.
        """
        forecast = ensemble("forecast", forecast)
        simulated = like(forecast, ensemble("predicted", predicted))
        same_members("predicted", simulated, "forecast", forecast)
        y = like(forecast, vector("y", y, simulated.shape[1]))
        return numbers_to_leaves(self)._update(key, forecast, simulated, y)

    @eqx.filter_jit
    def _update(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        simulated: Float[Array, "n m"],
        y: Float[Array, " m"],
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        members, alive = replace_dead(forecast)
        return guard(forecast, y, self.analyse_pairs(key, members, alive, simulated, y))


class AbstractKalmanAnalysis(AbstractPairedAnalysis):
    """A scheme that works from h and R: its analysis is one function of a `Predicted`.

    Attributes:
        noise: where h and R come from, see `kdediff_jax.observations.noise`.
    """

    noise: eqx.AbstractVar[AbstractNoise]

    @abc.abstractmethod
    def condition(self, key: Key, forecast: Predicted) -> Outcome:
        """Return the analysis of a forecast and its predictions, in units near 1."""

    def analyse(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar,
    ) -> Outcome:
        """Predict the measurement, then condition on it."""
        predict_key, draw_key = jax.random.split(key)
        predicted = predict(predict_key, forecast, alive, y, observation, t, self.noise)
        return self._in_own_units(draw_key, predicted)

    def analyse_pairs(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        simulated: Float[Array, "n m"],
        y: Float[Array, " m"],
    ) -> Outcome:
        """Estimate h and R from the pairs, then condition on the measurement."""
        return self._in_own_units(key, predict_from_pairs(forecast, alive, simulated, y))

    def _in_own_units(self, key: Key, forecast: Predicted) -> Outcome:
        """Condition in units in which every number is near 1, and return to the user's."""
        units = units_of(forecast)
        outcome = self.condition(key, in_units(forecast, units))
        return outcome._replace(
            ensemble=outcome.ensemble * units.state[None], mean=outcome.mean * units.state
        )


def guard(
    forecast: Float[Array, "n d"], y: Float[Array, " m"], outcome: Outcome
) -> tuple[Float[Array, "n d"], AnalysisInfo]:
    """Apply the rules that hold for every scheme to its outcome."""
    n = forecast.shape[0]
    nothing_measured = jnp.all(jnp.isnan(y))
    num_alive = jnp.sum(outcome.alive, dtype=jnp.int32)
    enough = num_alive >= 2
    keep = nothing_measured | ~enough
    analysis = jnp.where(keep, forecast, outcome.ensemble)
    finite = jnp.all(jnp.isfinite(outcome.ensemble)) & jnp.all(jnp.isfinite(outcome.mean))
    finite = finite & jnp.isfinite(outcome.ess)  # draws by weights that are NaN may look sound

    def count(value):
        return jnp.where(keep, 0, jnp.asarray(value, jnp.int32))

    info = AnalysisInfo(
        ess=jnp.where(nothing_measured, like(forecast, num_alive), outcome.ess),
        num_steps=count(outcome.num_steps),
        num_rejected=count(outcome.num_rejected),
        ok=enough & (nothing_measured | (finite & jnp.asarray(outcome.ok))),
        num_masked=n - num_alive,
        mean=jnp.where(keep, _mean_of_finite(forecast), outcome.mean),
    )
    return analysis, info


def _mean_of_finite(forecast: Float[Array, "n d"]) -> Float[Array, " d"]:
    finite = jnp.all(jnp.isfinite(forecast), axis=1)
    total = jnp.sum(jnp.where(finite[:, None], forecast, 0), axis=0)
    return total / jnp.maximum(jnp.sum(finite), 1).astype(forecast.dtype)
