"""The model and the measurement as the augmented vector meets them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import choice, concrete, has_method
from .._typing import Array, Float, Key, Scalar, like
from ..dynamics.base import AbstractDynamics
from ..dynamics.propagate import one_step
from ..observations.additive import AbstractAdditive, AbstractAdditiveNoise
from ..observations.base import AbstractLikelihood, AbstractObservation

if TYPE_CHECKING:
    from .layout import Augmentation

Make = Callable[[dict[str, Array]], Any]  # from parameters by name

WALK = 0x7061  # folded into the key: the model draws as it does alone, the walk apart from it


class AugmentedDynamics(AbstractDynamics):
    """A model whose parameters are coordinates; made by `Augmentation.dynamics`.

    Attributes:
        augmentation: which coordinates are what.
        wrapped: the model at the first guess.
        make: from the parameters by name to the model; None where fields of their names take them.
    """

    augmentation: Augmentation
    wrapped: AbstractDynamics
    make: Callable[[dict[str, Array]], AbstractDynamics] | None = None

    @property
    def interval(self) -> Scalar:
        """Model time of one step."""
        return self.wrapped.interval

    def step(
        self, key: Key, x: Float[Array, " e"], t: Scalar, **interval: Scalar
    ) -> Float[Array, " e"]:
        """Move the state by the model of the member's own parameters, and let those walk."""
        state, parameters = self.augmentation.split(x)
        model = _named(self.wrapped, parameters) if self.make is None else self.make(parameters)
        moved = one_step(model, key, state, t, **interval)
        own = like(x, self.wrapped.interval)
        part = like(x, interval.get("interval", own)) / own
        return self.augmentation.advanced(jax.random.fold_in(key, WALK), x, moved, part)


def dynamics(augmentation: Augmentation, model: Any) -> AugmentedDynamics:
    """Return the augmented dynamics. Arguments and errors: see `Augmentation.dynamics`."""
    guess = _guesses(augmentation)
    if isinstance(model, AbstractDynamics):
        _check_fields(model, guess)
        return AugmentedDynamics(augmentation=augmentation, wrapped=model)  # pyright: ignore[reportCallIssue]
    if not callable(model):
        raise TypeError(f"model: expected dynamics, or a function that makes one, got {model!r}")
    made: Any = model(guess)
    has_method("model", made, "step")
    return AugmentedDynamics(augmentation=augmentation, wrapped=made, make=model)  # pyright: ignore[reportCallIssue]


def _check_fields(model: AbstractDynamics, guess: dict[str, Array]) -> None:
    fields = {f.name: f for f in dataclasses.fields(model)}
    kind = type(model).__name__
    for name, value in guess.items():
        choice(f"parameters of {kind}", name, fields)
        if fields[name].metadata.get("static") or not eqx.is_array_like(getattr(model, name)):
            raise ValueError(f"{name}: expected a number of {kind}, got a field that is none")
        if jnp.shape(getattr(model, name)) != value.shape:
            raise ValueError(
                f"{name}: expected the shape {jnp.shape(getattr(model, name))} that {kind} has, "
                f"got a guess of shape {value.shape}"
            )


def _named(model: AbstractDynamics, parameters: dict[str, Array]) -> AbstractDynamics:
    """Return the model with its fields replaced."""
    if not parameters:
        return model

    def fields(model: AbstractDynamics) -> list[Any]:
        return [getattr(model, name) for name in parameters]

    return eqx.tree_at(fields, model, list(parameters.values()))


class StateOf(eqx.Module):
    """An operator of the state as one of the augmented vector."""

    augmentation: Augmentation
    operator: Callable[[Array], Array]

    def __call__(self, x: Float[Array, " e"]) -> Float[Array, " m"]:
        """Return h of the state part."""
        return self.operator(self.augmentation.split(x).state)


def _seen(self: Any, x: Float[Array, " e"]) -> tuple[Any, Float[Array, " d"]]:
    """Return the observation of a member's own parameters, and its state."""
    state, parameters = self.augmentation.split(x)
    return (self.wrapped if self.make is None else self.make(parameters)), state


class SampledOfState(AbstractObservation):
    """A simulator of measurements of the state part.

    Attributes:
        augmentation: which coordinates are what.
        wrapped: the observation, at the first guess of its parameters if it has any.
        make: from the parameters by name to the observation; None where it has none.
    """

    augmentation: Augmentation
    wrapped: AbstractObservation
    make: Make | None = None

    def sample(self, key: Key, x: Float[Array, " e"], t: Scalar) -> Float[Array, " m"]:
        """Draw y given the state part."""
        own, state = _seen(self, x)
        return own.sample(key, state, t)


class LikelihoodOfState(AbstractLikelihood):
    """The same with a density."""

    augmentation: Augmentation
    wrapped: AbstractLikelihood
    make: Make | None = None

    def sample(self, key: Key, x: Float[Array, " e"], t: Scalar) -> Float[Array, " m"]:
        """Draw y given the state part."""
        own, state = _seen(self, x)
        return own.sample(key, state, t)

    def log_likelihood(self, y: Float[Array, " m"], x: Float[Array, " e"], t: Scalar) -> Scalar:
        """Return log p(y | x)."""
        own, state = _seen(self, x)
        return own.log_likelihood(y, state, t)


class AbstractAdditiveOfState(AbstractAdditive):
    """The same with a stated h and R; R is the same for all members."""

    augmentation: eqx.AbstractVar[Augmentation]
    wrapped: eqx.AbstractVar[AbstractAdditive]
    make: eqx.AbstractVar[Make | None]

    def mean(self, x: Float[Array, " e"], t: Scalar) -> Float[Array, " m"]:
        """Return h of the state part."""
        own, state = _seen(self, x)
        return own.mean(state, t)

    def covariance(self, m: int, dtype: jnp.dtype, t: Scalar) -> Float[Array, "m *m"]:
        """Return R in the form that the wrapped observation gives it."""
        return self.wrapped.covariance(m, dtype, t)

    def sample(self, key: Key, x: Float[Array, " e"], t: Scalar) -> Float[Array, " m"]:
        """Draw y given the state part."""
        own, state = _seen(self, x)
        return own.sample(key, state, t)

    def log_likelihood(self, y: Float[Array, " m"], x: Float[Array, " e"], t: Scalar) -> Scalar:
        """Return log p(y | x)."""
        own, state = _seen(self, x)
        return own.log_likelihood(y, state, t)


class GaussianOfState(AbstractAdditiveOfState):
    """Gaussian noise."""

    augmentation: Augmentation
    wrapped: AbstractAdditive
    make: Make | None = None
    gaussian: ClassVar[bool] = True


class AdditiveOfState(AbstractAdditiveOfState):
    """Noise that is not Gaussian."""

    augmentation: Augmentation
    wrapped: AbstractAdditive
    make: Make | None = None
    gaussian: ClassVar[bool] = False


def observation(augmentation: Augmentation, given: Any) -> Any:
    """Return the augmented observation. Arguments and errors: see `Augmentation.observation`."""
    made = callable(given) and not hasattr(given, "sample")
    make = given if made else None
    own: Any = given(_guesses(augmentation)) if made else given
    has_method("observation", own, "sample")
    if isinstance(own, AbstractAdditiveNoise) and make is None:
        return dataclasses.replace(own, operator=StateOf(augmentation, own.operator))
    if isinstance(own, AbstractAdditive) and (make is None or _one_noise(augmentation, make, own)):
        kind = GaussianOfState if own.gaussian else AdditiveOfState
        return kind(augmentation, own, make)
    if isinstance(own, AbstractLikelihood):
        return LikelihoodOfState(augmentation, own, make)
    return SampledOfState(augmentation, own, make)


def _one_noise(augmentation: Augmentation, make: Make, observation: AbstractAdditive) -> bool:
    """Say whether the noise of an additive observation is that of every parameter.

    Only if that is known: the density of each member's own observation is right in any case.
    """
    if not isinstance(observation, AbstractAdditiveNoise):
        return False
    other: Any = make(_guesses(augmentation, 1.0))
    here, there = (concrete(each.std) for each in (observation, other))
    return here is not None and there is not None and np.array_equal(here, there)


def _guesses(augmentation: Augmentation, away: float = 0.0) -> dict[str, Array]:
    """Return the parameters' first guesses, or what lies some standard deviations away."""
    both = zip(augmentation.names, augmentation.parameters, strict=True)
    return {name: each.away(away) for name, each in both}
