"""The analysis protocol: one call, one `AnalysisInfo`, the same guards for every scheme."""

from __future__ import annotations

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import ensemble, has_method, positive, same_members, vector
from .._printing import printed
from .._tracing import errors_in_users_words
from .._typing import Array, Bool, Float, Key, Number, Scalar, as_leaf, like, numbers_to_leaves
from ..observations import AbstractNoise, AbstractObservation
from .outcome import AnalysisInfo, Outcome
from .predict import Predicted, predict, predict_from_pairs
from .safeguards import Safeguards, gross_errors, normalised_innovation
from .units import in_units, units_of


class AbstractAnalysis(eqx.Module):
    """Turns a forecast ensemble and a measurement into an analysis ensemble.

    A new scheme subclasses this or, if it works from h and R, `AbstractKalmanAnalysis` (start from
    `enkf.py`); its line in `tests/schemes.py` has it tested, one in `__init__.pyi` makes it public,
    one in `experiments/filters.py` gives it to the command line.

    A scheme implements `analyse`; calling it adds the guards that all share: shapes are checked,
    bad members are replaced by stand-ins and marked, an all-NaN measurement leaves the forecast as
    it is, bit for bit, and failure is a flag, never an exception, and never the end of a run.

    Attributes:
        safeguards: who may take part, and what goes on after a failure.
        localised: whether every coordinate has an analysis of its own: the scheme can do without
            some coordinates of a member, and a failure in one place stays there.
    """

    safeguards: Safeguards = eqx.field(kw_only=True, default_factory=Safeguards)
    localised: ClassVar[bool] = False

    def __repr__(self) -> str:
        return printed(self)

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
        with errors_in_users_words(None, observation, self):
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
        members, alive = self.safeguards.admit(forecast, self.localised)
        outcome = self.analyse(key, members, alive, _finite_or_missing(y), observation, t)
        return self.safeguards.settle(forecast, members, y, outcome, self.localised)


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
        scheme = numbers_to_leaves(self)
        with errors_in_users_words(None, None, self):
            return scheme._update(key, forecast, simulated, y)

    @eqx.filter_jit
    def _update(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        simulated: Float[Array, "n m"],
        y: Float[Array, " m"],
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        members, alive = self.safeguards.admit(forecast, self.localised)
        outcome = self.analyse_pairs(key, members, alive, simulated, _finite_or_missing(y))
        return self.safeguards.settle(forecast, members, y, outcome, self.localised)


class AbstractKalmanAnalysis(AbstractPairedAnalysis):
    """A scheme that works from h and R: its analysis is one function of a `Predicted`.

    Attributes:
        noise: where h and R come from, see `kdediff_jax.observations.noise`.
        independent: whether the scheme uses the diagonal alone of an R that has to be estimated.
        gross_error: a component of the measurement further than this many standard deviations
            sqrt(P_hh + R) from the mean prediction is left out; infinity for never. The default is
            far beyond what a filter that has lost its track is from the truth, and far within what
            a wrong digit or a code for missing values costs.
    """

    noise: eqx.AbstractVar[AbstractNoise]
    independent: ClassVar[bool] = False
    gross_error: Number = eqx.field(converter=as_leaf, kw_only=True, default=100.0)

    def __check_init__(self) -> None:
        """Check the threshold."""
        positive("gross_error", self.gross_error, infinite=True)

    @abc.abstractmethod
    def condition(self, key: Key, forecast: Predicted) -> Outcome:
        """Return the analysis of a forecast and its predictions, in units near 1.

        What is missing, and a gross error, is NaN in `forecast.y` and 0 in its innovations; what a
        scheme draws for such a component (a perturbation of y) it has to set to 0.
        """

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
        far = self.safeguards.far_member
        predicted = predict(
            predict_key, forecast, alive, y, observation, t, self.noise, far, self.independent
        )
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
        far = self.safeguards.far_member
        density = self.noise.density
        predicted = predict_from_pairs(
            forecast, alive, simulated, y, density, far, self.independent
        )
        return self._in_own_units(key, predicted)

    def _in_own_units(self, key: Key, forecast: Predicted) -> Outcome:
        """Condition in units in which every number is near 1, and return to the user's."""
        units = units_of(forecast)
        forecast = in_units(forecast, units).resolved(self.localised)
        innovation, variance = forecast.mean_innovation, forecast.innovation_variance
        gross = gross_errors(innovation, variance, like(variance, self.gross_error))
        outcome = self.condition(key, forecast._replace(y=jnp.where(gross, jnp.nan, forecast.y)))
        return outcome._replace(
            ensemble=outcome.ensemble * units.state[None],
            mean=outcome.mean * units.state,
            gross_errors=gross,
            normalised_innovation=normalised_innovation(innovation, variance, forecast.measured),
        )


def _finite_or_missing(y: Float[Array, " m"]) -> Float[Array, " m"]:
    """Return the measurement, infinite components missing: `settle` flags them."""
    return jnp.where(jnp.isinf(y), jnp.nan, y)
