"""What gives an analysis back the spread that it should have: inflation, and relaxation."""

from __future__ import annotations

import abc
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp

from .._checks import concrete, positive
from .._printing import printed
from .._typing import Array, Float, Number, Scalar, like, tunable
from ..numerics import centred, safe_sqrt, standard_deviation


class AbstractInflation(eqx.Module):
    """A rule for the factor of the analysis anomalies."""

    def __repr__(self) -> str:
        return printed(self)

    @abc.abstractmethod
    def __call__(
        self, freedom: Float[Array, "*d"], members: int, excess: Float[Array, "*d"] | float = 0.0
    ) -> Float[Array, "*d"]:
        """Return the factor.

        Args:
            freedom: degrees of freedom that the measurement determines, tr(P_hh (P_hh + R)^{-1}),
                of the whole state or for each coordinate.
            members: ensemble size N.
            excess: sampling noise of particle weights, 1 / ESS - 1 / N; 0 for schemes without.
        """


class ConstantInflation(AbstractInflation):
    """The same factor in every cycle; a number given as `inflation` becomes this.

    Args:
        factor: of the anomalies; 1 leaves them as they are.

    Raises:
        ValueError: a factor that is not positive.
    """

    factor: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the factor."""
        positive("inflation", self.factor)

    def __call__(
        self, freedom: Float[Array, "*d"], members: int, excess: Float[Array, "*d"] | float = 0.0
    ) -> Float[Array, "*d"]:
        """Return the factor."""
        return jnp.broadcast_to(like(freedom, self.factor), jnp.shape(freedom))


class SamplingInflation(AbstractInflation):
    r"""Multiplies the anomalies by sqrt(1 + c DFS / (N - 1)): no tuning.

    DFS = tr(P_hh (P_hh + R)^{-1}) is the number of degrees of freedom that the measurement
    determines. A gain from N members has errors: to leading order they add DFS / (N - 1) of the
    forecast variance to the error of a coordinate that has nothing to do with the measurement, and
    the ensemble variance loses as much to spurious correlation, hence c = 2 (compare Furrer and
    Bengtsson 2007; Sacher and Bartello 2008).

    Args:
        factor: c.

    Raises:
        ValueError: a negative number.
    """

    factor: Number = tunable(2.0)

    def __check_init__(self) -> None:
        """Check the number."""
        positive("factor", self.factor, zero=True)

    def __call__(
        self, freedom: Float[Array, "*d"], members: int, excess: Float[Array, "*d"] | float = 0.0
    ) -> Float[Array, "*d"]:
        """Return the factor of the anomalies."""
        return jnp.sqrt(1 + _of_gain(self.factor, freedom, members))


class FieldSamplingInflation(AbstractInflation):
    r"""The same for every coordinate of a localised filter with weights.

    The factor is sqrt(1 + c DFS / (N - 1) + w (1 / ESS - 1 / N)): particle weights add
    1 / ESS - 1 / N of a coordinate's variance to the error of its mean.

    Args:
        factor: c. By default half of `SamplingInflation`'s, as no measurement is perturbed and the
            taper cuts off far correlations.
        weights: w. By default their noise counts eightfold, as every coordinate is weighed by
            itself, which also costs the relations between them.

    Raises:
        ValueError: a negative number.
    """

    factor: Number = tunable(1.0)
    weights: Number = tunable(8.0)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("factor", self.factor, zero=True)
        positive("weights", self.weights, zero=True)

    def __call__(
        self, freedom: Float[Array, "*d"], members: int, excess: Float[Array, "*d"] | float = 0.0
    ) -> Float[Array, "*d"]:
        """Return the factor of the anomalies."""
        of_weights = like(freedom, self.weights) * jnp.maximum(like(freedom, excess), 0)
        return jnp.sqrt(1 + _of_gain(self.factor, freedom, members) + of_weights)


class AbstractRelaxation(eqx.Module):
    """A rule that takes the analysis anomalies part of the way back to those of the forecast."""

    def __repr__(self) -> str:
        return printed(self)

    @abc.abstractmethod
    def relax(
        self, forecast: Float[Array, "n d"], analysis: Float[Array, "n d"]
    ) -> Float[Array, "n d"]:
        """Return the analysis with its mean and other anomalies."""


class RelaxationToPriorSpread(AbstractRelaxation):
    r"""Multiplies the anomalies of each coordinate by 1 + alpha (s_f - s_a) / s_a.

    s_f and s_a are the standard deviations of forecast and analysis: their part alpha of what the
    measurement took comes back, and nothing where it took none. Source: Whitaker and Hamill 2012,
    Mon. Wea. Rev. 140, 3078.

    Args:
        strength: alpha, from 0 for none to 1 for the forecast's spread.

    Raises:
        ValueError: a strength out of range.
    """

    strength: Number = tunable(0.5)

    def __check_init__(self) -> None:
        """Check the strength."""
        _part("strength", self.strength)

    def relax(
        self, forecast: Float[Array, "n d"], analysis: Float[Array, "n d"]
    ) -> Float[Array, "n d"]:
        """Return the analysis with its mean and wider anomalies."""
        ratio = spread_ratio(forecast, analysis)
        return inflate(analysis, (1 + like(analysis, self.strength) * (ratio - 1))[None])


class RelaxationToPriorPerturbations(AbstractRelaxation):
    r"""Takes the anomalies (1 - alpha) a_i + alpha f_i, of analysis and forecast of each member.

    Source: Zhang, Snyder and Sun 2004, Mon. Wea. Rev. 132, 1238.

    Args:
        strength: alpha, from 0 for none to 1 for the forecast's anomalies.

    Raises:
        ValueError: a strength out of range.
    """

    strength: Number = tunable(0.5)

    def __check_init__(self) -> None:
        """Check the strength."""
        _part("strength", self.strength)

    def relax(
        self, forecast: Float[Array, "n d"], analysis: Float[Array, "n d"]
    ) -> Float[Array, "n d"]:
        """Return the analysis with its mean and mixed anomalies."""
        change = centred(forecast) - centred(analysis)
        return analysis + like(analysis, self.strength) * change


def _part(name: str, value: Number) -> None:
    known = concrete(value)
    if known is not None and not ((known >= 0) & (known <= 1)).all():
        raise ValueError(f"{name}: expected a number from 0 to 1, got {known.tolist()}")


def _of_gain(factor: Scalar, freedom: Float[Array, "*d"], members: int) -> Float[Array, "*d"]:
    """Return c DFS / (N - 1)."""
    return like(freedom, factor) * jnp.maximum(freedom, 0) / (members - 1)


Inflation: TypeAlias = AbstractInflation | AbstractRelaxation


def as_inflation(value: Any) -> Inflation:
    """Return a number as `ConstantInflation`, a rule as it is."""
    rule = isinstance(value, (AbstractInflation, AbstractRelaxation))
    return value if rule else ConstantInflation(value)


def restore_spread(
    rule: Inflation,
    forecast: Float[Array, "n d"],
    analysis: Float[Array, "n d"],
    freedom: Float[Array, "*d"],
    excess: Float[Array, "*d"] | float = 0.0,
) -> Float[Array, "n d"]:
    """Return the analysis with the spread that a rule gives it.

    Args:
        rule: of inflation or relaxation.
        forecast: members before the measurement.
        analysis: the same members after it.
        freedom: see `AbstractInflation`.
        excess: likewise.
    """
    if isinstance(rule, AbstractRelaxation):
        return rule.relax(forecast, analysis)
    factor = rule(freedom, analysis.shape[0], excess)
    return inflate(analysis, factor if factor.ndim == 0 else factor[None])


def spread_ratio(
    forecast: Float[Array, "n d"], analysis: Float[Array, "n d"]
) -> Float[Array, " d"]:
    """Return s_f / s_a of every coordinate; of a constant analysis there is nothing to multiply."""
    return safe_sqrt(jnp.mean(centred(forecast) ** 2, axis=0)) / standard_deviation(analysis)


def inflate(
    ensemble: Float[Array, "n d"], factor: Float[Array, "1 d"] | Scalar | float
) -> Float[Array, "n d"]:
    """Return mean + factor (x_i - mean): the spread grows by `factor`, the mean stays.

    Multiplicative inflation (Anderson and Anderson 1999). A factor of 1 leaves every bit.
    """
    mean = jnp.mean(ensemble, axis=0, keepdims=True)
    factor = like(ensemble, factor)
    return jnp.where(factor == 1, ensemble, mean + factor * (ensemble - mean))
