r"""The augmented vector: coordinates of the state first, those of the parameters behind them.

    where = kd.Augmentation({"rho": kd.Parameter(24.0, 4.0, kd.Positive())})
    result = kd.assimilate(
        key, where.dynamics(kd.Lorenz63()), where.observation(observation), kd.EnKPF(),
        where.ensemble(key, members), ys, save=kd.save_ensembles,
    )
    rho = where.split(result.saved).parameters["rho"]  # [t n]

A parameter that is not measured is moved by its covariance with what is (Anderson 2001; Evensen
2009, "The ensemble Kalman filter for combined state and parameter estimation"). With a transform of
the state alone, `Augmentation(state=Positive())`, the same object keeps a concentration positive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import ensemble as check_ensemble
from .._checks import floating
from .._typing import Array, Float, Key, Number, Scalar
from ..dynamics.base import AbstractDynamics
from ..ensemble.localisation import Localisation
from ..observations.base import AbstractObservation
from ..transforms import AbstractTransform, Unbounded, checked_transform
from . import models
from .parameters import Parameter


class Parts(NamedTuple):
    """A state and its parameters, each within its bounds."""

    state: Float[Array, "*s d"]
    parameters: dict[str, Array]


class Augmentation(eqx.Module):
    """What is filtered: a state, bounded or not, and the uncertain parameters of its model.

    Args:
        parameters: by name, none by default.
        state: transform of the state, `Blocks` where coordinates differ; none by default.

    Raises:
        TypeError: parameters or a transform of another kind.
        ValueError: neither parameters nor a transform.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    parameters: tuple[Parameter, ...]
    state: AbstractTransform

    def __init__(
        self,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        state: AbstractTransform | None = None,
    ) -> None:
        parameters = {} if parameters is None else parameters
        if not isinstance(parameters, Mapping):
            raise TypeError(f"parameters: expected a dict of Parameter by name, got {parameters!r}")
        for name, each in parameters.items():
            if not isinstance(name, str) or not isinstance(each, Parameter):
                raise TypeError(f"parameters: expected Parameter by name, got {name!r}: {each!r}")
        if not parameters and state is None:
            raise ValueError("parameters: expected at least one, or a transform of the state")
        self.names = tuple(parameters)
        self.parameters = tuple(parameters.values())
        self.state = checked_transform("state", Unbounded() if state is None else state)

    @property
    def num_parameters(self) -> int:
        """Number of coordinates that parameters take."""
        return sum(each.size for each in self.parameters)

    def ensemble(self, key: Key, states: Float[Array, "n d"]) -> Float[Array, "n e"]:
        """Return initial members: the states given, and parameters drawn around their guesses.

        Args:
            key: random key.
            states: within their bounds. Angles lie within half a turn of the first member's.

        Raises:
            ValueError: fewer than two members.
        """
        states = check_ensemble("states", states)
        reference = self.state.inverse(states[0])
        blocks = [jax.vmap(lambda x: self.state.inverse(x, reference))(states)]
        for k, each in enumerate(self.parameters):
            blocks.append(each.draw(jax.random.fold_in(key, k), states.shape[0], states.dtype))
        return jnp.concatenate(blocks, axis=1)

    def split(self, x: Float[Array, "*s e"]) -> Parts:
        """Return state and parameters of a member, an ensemble, a whole run, a mean or a quantile.

        Transforms are increasing: a quantile becomes that quantile of the values. The mean of
        coordinates becomes the value there, which for a symmetric ensemble is the median, and not
        the mean of the values; that is the mean of a split ensemble.

        Args:
            x: coordinates along the last axis.

        Raises:
            ValueError: no coordinate but those of the parameters.
        """
        x = floating("x", x)
        self._check(x)
        state, parameters = jax.vmap(self._values)(x.reshape(-1, x.shape[-1]))

        def shaped(values: Array) -> Array:
            return values.reshape(*x.shape[:-1], *values.shape[1:])

        # JAX sorts a dict by name
        return Parts(shaped(state), {name: shaped(parameters[name]) for name in self.names})

    def join(self, state: Float[Array, " d"], parameters: Mapping[str, Number]) -> Array:
        """Return the coordinates [e] of one state and its parameters, as a truth has them.

        Raises:
            ValueError: parameters of other names or shapes.
        """
        state = floating("state", state)
        if set(parameters) != set(self.names):
            raise ValueError(f"parameters: expected {self.names}, got {tuple(parameters)}")
        blocks = [self.state.inverse(state)]
        for name, each in zip(self.names, self.parameters, strict=True):
            value = jnp.asarray(parameters[name], state.dtype)
            if value.shape != each.shape:
                raise ValueError(f"{name}: expected shape {each.shape}, got {value.shape}")
            blocks.append(each.coordinates(value))
        return jnp.concatenate(blocks)

    def dynamics(
        self, model: AbstractDynamics | Callable[[dict[str, Array]], AbstractDynamics]
    ) -> models.AugmentedDynamics:
        """Return the dynamics of the augmented vector.

        Args:
            model: dynamics with a field of every parameter's name, which takes its place; or a
                function from the parameters by name to the dynamics, a module-level one (a fresh
                lambda compiles afresh). The interval is that of the first guess.

        Raises:
            TypeError: no such thing, or a function that returns none.
            ValueError: a field that is not there, is static or has another shape.
        """
        return models.dynamics(self, model)

    def observation(
        self, observation: AbstractObservation | Callable[[dict[str, Array]], AbstractObservation]
    ) -> Any:
        """Return the observation of the state part, of the same kind.

        Args:
            observation: one that knows no parameter; or a function that makes one from the
                parameters, a dict of arrays by name, where some enter the measurement: an offset,
                a gain, the noise's size. The model then comes from a function as well,
                `lambda parameters: model` if it has none of its own. Use a named function: a fresh
                lambda compiles afresh. Where the noise itself depends on a parameter, each
                member's measurement is drawn, and weighed, with its own.

        Raises:
            TypeError: no such thing, or a function that returns none.
        """
        return models.observation(self, observation)

    def localisation(self, localisation: Localisation, weight: Number = 1.0) -> Localisation:
        """Return the localisation of the state with the parameters behind, which have no place.

        With weight 1 LETKF updates them as ETKF does. LEnKPF does so with its Kalman share; its
        weights are those of all measurements for members that were moved locally.

        Args:
            localisation: of the state alone.
            weight: of every measurement for every parameter, from 0 to 1.
        """
        if not isinstance(localisation, Localisation):
            raise TypeError(
                f"localisation: expected a Localisation, got {localisation!r}; one by correlations "
                "serves parameters as it is"
            )
        where = localisation
        more = jnp.broadcast_to(jnp.asarray(weight, float), (self.num_parameters,))
        placeless = jnp.concatenate([jnp.asarray(where.placeless, float), more])
        return dataclasses.replace(where, placeless=placeless, lists=None, placed=None)

    def advanced(
        self, key: Key, x: Float[Array, " e"], moved: Float[Array, " d"], part: Scalar
    ) -> Float[Array, " e"]:
        """Return a member after the model's step: its new state, its parameters' walk.

        Args:
            key: random key.
            x: the member before.
            moved: its state after, within its bounds.
            part: of an interval that the step took.
        """
        d = self._check(x)
        blocks, start = [self.state.inverse(moved, x[:d])], d
        for k, each in enumerate(self.parameters):
            own = x[start : start + each.size]
            blocks.append(each.walk(jax.random.fold_in(key, k), own, part))
            start += each.size
        return jnp.concatenate(blocks)

    def _values(self, x: Float[Array, " e"]) -> Parts:
        start = x.shape[0] - self.num_parameters
        state, found = self.state.forward(x[:start]), {}
        for name, each in zip(self.names, self.parameters, strict=True):
            found[name] = each.values(x[start : start + each.size])
            start += each.size
        return Parts(state, found)

    def _check(self, x: Array) -> int:
        """Return the number of coordinates of the state."""
        size = self.num_parameters
        if x.ndim == 0 or x.shape[-1] <= size:
            raise ValueError(
                f"x: expected coordinates of a state and {size} of parameters along the last axis, "
                f"got shape {x.shape}"
            )
        return x.shape[-1] - size
