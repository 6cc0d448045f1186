"""What a simulator on the host stands for: dynamics, a measurement, or an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import equinox as eqx
import jax

from .._checks import positive
from .._typing import Array, Float, Key, Number, Scalar, tunable
from ..dynamics.base import AbstractDynamics
from ..observations.base import AbstractObservation
from .base import AbstractSimulator
from .functions import ArraySimulator


def as_simulator(value: AbstractSimulator | Callable[..., Any]) -> AbstractSimulator:
    """Return a simulator; a plain function is one of all members at once."""
    return value if isinstance(value, AbstractSimulator) else ArraySimulator(value)


class HostDynamics(AbstractDynamics):
    """Dynamics that are not JAX: x(t) [d] -> x(t + interval) [d].

    For `assimilate`, `resume`, `cycle` and `twin_experiment`, with every scheme. There a loop on
    the host takes the place of the one compiled program; everything else is the same: keys, clock,
    irregular times, guards, checkpoints. Inside `jit`, `vmap` or `sweep` it is refused.

    A member fails by an exception, or by values that are not finite or absurdly far from those of
    the others. It is masked, counted in `info.num_masked`, replaced from the analysis, and listed
    with its reason in `FilterResult.failures` (of `cycle`: `CycleOutput.failures`); a line a cycle
    goes to the log `kdediff_jax`. Of a long run that list has the first 250 and the last 250
    failures, and counts of all (`Failures`). An exception in every member of the first cycle of a
    run is a fault of the simulator, and is raised as it is.

    With a checkpoint a run is saved after every cycle, at most every second, and goes on from there
    after a kill or a Ctrl-C. It is known by the simulator's function, what that reads from outside
    (closures, globals, its object, modules of yours), and a program's file: a changed one is
    another run, and is refused.

        >>> import jax, numpy as np, kdediff_jax as kd
        >>> def decay(rng, X, t, interval):  # of all members, X [n d]
        ...     return np.exp(-0.3 * interval) * X + 0.1 * rng.normal(size=X.shape)
        >>> dynamics = kd.HostDynamics(decay, interval=1.0)
        >>> observation = kd.GaussianObservation(kd.Select([0]), std=0.2)
        >>> ensemble = np.random.default_rng(0).normal(size=(50, 2)).astype("float32")
        >>> ys = np.array([[0.5], [np.nan], [0.2]], "float32")
        >>> result = kd.assimilate(
        ...     jax.random.key(0), dynamics, observation, kd.EnKPF(), ensemble, ys
        ... )
        >>> result.mean.shape, result.failures
        ((3, 2), ())

    Args:
        simulator: an `ArraySimulator`, a `MemberSimulator`, a `ProgramSimulator`, or a function,
            which is that of an `ArraySimulator`.
        interval: model time of one call; for measurements at irregular `times` a call covers at
            most that.
        whole_intervals: whether a call always covers the whole interval, so that `times` are to be
            multiples of it.

    Raises:
        TypeError: no simulator and no function.
        ValueError: an interval that is not positive.
    """

    simulator: AbstractSimulator = eqx.field(converter=as_simulator)
    interval: Number = tunable()
    whole_intervals: bool = eqx.field(static=True, default=False, kw_only=True)

    def __check_init__(self) -> None:
        """Check the interval."""
        positive("interval", self.interval)

    def step(
        self, key: Key, x: Float[Array, " d"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " d"]:
        """Refuse: a compiled program cannot call the host."""
        refuse("dynamics", self)


class HostObservation(AbstractObservation):
    """A measurement that is simulated outside JAX, noise included: x(t) [d] -> y [m].

    For schemes that need no likelihood. Before an analysis the simulator measures every member: as
    often as `replicates` of `KDEDiffusion` or of the rule `noise` say (8 by default, once with
    `noise="pairs"`). Where a scheme asks what a member that it has moved would measure (`EnKPF`,
    `LEnKPF`), the answer is the member's own measurements and a linear response. Where the noise is
    additive and only h is not JAX, `HostOperator` says more.

    Args:
        simulator: see `HostDynamics`.

    Raises:
        TypeError: no simulator and no function.
    """

    simulator: AbstractSimulator = eqx.field(converter=as_simulator)

    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Refuse: a compiled program cannot call the host."""
        refuse("observation", self)


class HostOperator(eqx.Module):
    """An operator h that is not JAX: `GaussianObservation(HostOperator(h), std)`.

    The noise is JAX's, and so is the likelihood: every scheme can use it. h is evaluated once per
    member and cycle; for members that an analysis has moved the response is linear, as in
    `HostObservation`.

    Args:
        simulator: see `HostDynamics`; the function is h(X) of all members, or h(x) of one.

    Raises:
        TypeError: no simulator and no function.
    """

    simulator: AbstractSimulator = eqx.field(converter=as_simulator)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """Refuse: a compiled program cannot call the host."""
        refuse("operator", self)


def refuse(name: str, role: Any) -> NoReturn:
    """Raise the error of a simulator that is called where the host cannot be."""
    raise TypeError(
        f"{name}: {type(role).__name__} lives on the host, and only `assimilate`, `resume`, "
        "`cycle` and `twin_experiment` run it, as it is (no part of an `Augmentation` or a "
        "`StateSpace`) and outside of `jit`, `vmap`, `grad`, `sweep` and `tune`"
    )


def host_operators(observation: Any) -> list[HostOperator]:
    """Return the operators on the host that an observation holds."""
    nodes = jax.tree.leaves(observation, is_leaf=_is_operator)
    return [node for node in nodes if _is_operator(node)]


def _is_operator(node: Any) -> bool:
    return isinstance(node, HostOperator)


def replace_operators(observation: Any, replacements: list[Any]) -> Any:
    """Return the observation with others in place of its operators on the host, in their order."""
    left = iter(replacements)
    return jax.tree.map(
        lambda node: next(left) if _is_operator(node) else node,
        observation,
        is_leaf=_is_operator,
    )


def lives_on_host(dynamics: Any, observation: Any) -> bool:
    """Say whether a run of these needs the loop on the host."""
    host = isinstance(dynamics, HostDynamics) or isinstance(observation, HostObservation)
    return host or bool(host_operators(observation))
