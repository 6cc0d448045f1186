"""Where h and R of the error model come from: one rule, the same in every Kalman scheme."""

from __future__ import annotations

import abc

import equinox as eqx

from .._checks import choice, count
from .._typing import Array, Float, Key, Scalar
from .additive import AbstractAdditive
from .base import AbstractLikelihood, AbstractObservation, sample_ensemble
from .error_model import ErrorModel, Simulated, density, paired, replicated, stated
from .simulated_density import SimulatedDensity


class AbstractNoise(eqx.Module):
    """A rule for the error model of a measurement. Calling it simulates what it needs.

    Attributes:
        density: how densities are estimated where none is stated and noise is not Gaussian.
    """

    density: eqx.AbstractVar[SimulatedDensity]

    @abc.abstractmethod
    def __call__(
        self,
        observation: AbstractObservation,
        key: Key,
        forecast: Float[Array, "n d"],
        t: Scalar,
        independent: bool = False,
    ) -> Simulated:
        """Return what finite members predict, and how the error model follows from it.

        Args:
            observation: simulator of the measurement.
            key: random key.
            forecast: finite members.
            t: model time of the measurement.
            independent: whether the diagonal is enough of an R that has to be estimated.
        """


class KnownNoise(AbstractNoise):
    """Take h and R from the observation, an `AbstractAdditive`; TypeError for any other.

    Args:
        density: how densities are estimated from the pairs that `update` is given.
    """

    density: SimulatedDensity = eqx.field(kw_only=True, default_factory=SimulatedDensity)

    def __call__(
        self,
        observation: AbstractObservation,
        key: Key,
        forecast: Float[Array, "n d"],
        t: Scalar,
        independent: bool = False,
    ) -> Simulated:
        """Return the stated h and R."""
        if not isinstance(observation, AbstractAdditive):
            raise TypeError(
                "observation: expected one that states its mean and covariance (such as "
                f"GaussianObservation) for noise='known', got {type(observation).__name__}"
            )
        return stated(observation, forecast, t)


class SampledNoise(AbstractNoise):
    """Use `sample` alone: h(x_i) is the mean of some draws per member, R their pooled covariance.

    Fewer residuals than components leave that singular: then R is shrunk towards its diagonal, as
    in `PairedNoise`.

    Args:
        replicates: simulated measurements per member, at least two.
        density: how the density is estimated where noise is not additive and Gaussian.
    """

    replicates: int = eqx.field(static=True, default=8)
    density: SimulatedDensity = eqx.field(kw_only=True, default_factory=SimulatedDensity)

    def __check_init__(self) -> None:
        """Check the number."""
        count("replicates", self.replicates, 2)

    def __call__(
        self,
        observation: AbstractObservation,
        key: Key,
        forecast: Float[Array, "n d"],
        t: Scalar,
        independent: bool = False,
    ) -> Simulated:
        """Return h and R from replicates."""
        return replicated(observation, key, forecast, t, self.replicates, self.density, independent)


class PairedNoise(AbstractNoise):
    """Use one simulated measurement per member, as the paper's EnKF: h and R by regression.

    Args:
        density: how the density is estimated where noise is not additive and Gaussian.
    """

    density: SimulatedDensity = eqx.field(kw_only=True, default_factory=SimulatedDensity)

    def __call__(
        self,
        observation: AbstractObservation,
        key: Key,
        forecast: Float[Array, "n d"],
        t: Scalar,
        independent: bool = False,
    ) -> Simulated:
        """Return h and R from the pairs."""
        simulated = sample_ensemble(observation, key, forecast, t)
        return paired(simulated, self.density, independent)


class AutoNoise(AbstractNoise):
    """Take what is known: h and R; else a density for the weights, and h and R from replicates.

    Args:
        replicates: simulated measurements per member where h and R are not stated.
        density: how the density is estimated where it is not stated either, and in `update`.
    """

    replicates: int = eqx.field(static=True, default=8)
    density: SimulatedDensity = eqx.field(kw_only=True, default_factory=SimulatedDensity)

    def __check_init__(self) -> None:
        """Check the number."""
        count("replicates", self.replicates, 2)

    def __call__(
        self,
        observation: AbstractObservation,
        key: Key,
        forecast: Float[Array, "n d"],
        t: Scalar,
        independent: bool = False,
    ) -> Simulated:
        """Return the best error model that the observation allows."""
        if isinstance(observation, AbstractAdditive):
            return stated(observation, forecast, t)
        simulated = replicated(
            observation, key, forecast, t, self.replicates, self.density, independent
        )
        if not isinstance(observation, AbstractLikelihood):
            return simulated
        log_likelihood = density(observation, t)

        def model(members: Array, known: Array) -> ErrorModel:
            found = simulated.model(members, known)
            return ErrorModel(found.predict, found.covariance, log_likelihood)

        return simulated._replace(model=model)


RULES = {"auto": AutoNoise, "known": KnownNoise, "sampled": SampledNoise, "pairs": PairedNoise}


def as_noise(value: str | AbstractNoise) -> AbstractNoise:
    """Return the rule that a name stands for; a rule as it is.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(value, AbstractNoise):
        return value
    choice("noise", value, RULES)
    return RULES[value]()
