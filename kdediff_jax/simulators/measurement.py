"""What members measure whose measurement or operator lives on the host, for a compiled analysis."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, Bool, Float, Key, Scalar, like
from ..analysis.members import far_members
from ..observations import KnownNoise
from ..observations.recorded import RecordedOperator, SimulatedMeasurements
from ..observations.rows import MemberRows, response
from .base import AbstractSimulator, Request
from .failures import FAR, FailureLog
from .roles import HostObservation, host_operators, replace_operators

NAME = "observation"
APART = 0x0B5E  # from the keys that the analysis splits off


class Members(NamedTuple):
    """The members that are measured.

    Attributes:
        states: finite; stand-ins where `alive` is False, which are not measured.
        alive: who takes part.
        t: model time of the measurement.
        far: threshold of what is too far, see `Safeguards.far_member`.
    """

    states: Float[Array, "n d"]
    alive: Bool[Array, " n"]
    t: Scalar
    far: Any


def measured_members(
    observation: Any, analysis: Any, key: Key, members: Members, y: Array, log: FailureLog
) -> Any:
    """Return an observation that a compiled analysis can use; the same if it is JAX already.

    Args:
        observation: of the run.
        analysis: the scheme, which says how many measurements of a member it needs.
        key: of the analysis.
        members: to be measured.
        y: the measurement.
        log: of the cycle's failures.

    Raises:
        TypeError: noise="known" with a measurement that can only be simulated.
    """
    if isinstance(observation, HostObservation):
        draws = draws_of(analysis)
        values = _draws(observation.simulator, key, members, y, draws, log)
        return _screened(values, members, y, log, SimulatedMeasurements)
    operators = [
        _screened(_predictions(each.simulator, members, log), members, None, log, RecordedOperator)
        for each in host_operators(observation)
    ]
    return replace_operators(observation, operators) if operators else observation


def stand_in(observation: Any, analysis: Any, members: Members, y: Array) -> Any:
    """Return what `measured_members` does, with zeros for what the host would answer.

    A program can be traced with it. An operator is taken to have as many components as y.
    """
    n, m, dtype = members.states.shape[0], y.shape[0], members.states.dtype
    if isinstance(observation, HostObservation):
        zeros = jnp.zeros((n, draws_of(analysis), m), dtype)
        return _recorded(zeros, members, y, SimulatedMeasurements)[0]
    operators = [
        _recorded(jnp.zeros((n, m), dtype), members, None, RecordedOperator)[0]
        for _ in host_operators(observation)
    ]
    return replace_operators(observation, operators) if operators else observation


def draws_of(analysis: Any) -> int:
    """Return how many measurements per member a scheme asks for."""
    noise = getattr(analysis, "noise", None)
    if isinstance(noise, KnownNoise):
        raise TypeError(
            "observation: expected one that states its mean and covariance for noise='known' "
            "(GaussianObservation with a HostOperator, where noise is additive), got "
            "HostObservation"
        )
    own = getattr(analysis, "replicates", None)
    return int(getattr(noise, "replicates", 1) if own is None else own)


def _draws(
    simulator: AbstractSimulator, key: Key, members: Members, y: Array, draws: int, log: FailureLog
) -> np.ndarray:
    """Return simulated measurements [n r m], NaN where one failed."""
    n, m = members.states.shape[0], y.shape[0]
    values = np.full((n, draws, m), np.nan, members.states.dtype)
    if np.isnan(np.asarray(y)).all():  # a time of output, which needs none
        return values
    who = np.flatnonzero(np.asarray(members.alive))
    if not who.size:  # no member is left to measure
        return values
    words = np.asarray(jax.random.key_data(_keys(key, n, draws)))[who]
    request = Request(
        states=np.repeat(np.asarray(members.states)[who], draws, axis=0),
        members=np.repeat(who, draws).tolist(),
        draws=np.tile(np.arange(draws), who.size).tolist(),
        seeds=words.reshape(who.size * draws, -1),
        t=float(members.t),
        interval=None,
        size=m,
        cycle=log.cycle,
        part="measurement",
    )
    values[who] = _run(simulator, request, log).reshape(who.size, draws, m)
    return values


def _predictions(simulator: AbstractSimulator, members: Members, log: FailureLog) -> np.ndarray:
    """Return h(x_i) [n m], NaN where it failed."""
    who = np.flatnonzero(np.asarray(members.alive))
    states = np.asarray(members.states)[who]
    first = [0] * who.size
    request = Request(states, who.tolist(), first, None, None, None, None, log.cycle, "measurement")
    found = _run(simulator, request, log)
    values = np.full((members.states.shape[0], found.shape[1]), np.nan, found.dtype)
    values[who] = found
    return values


def _run(simulator: AbstractSimulator, request: Request, log: FailureLog) -> np.ndarray:
    """Return what the simulator answers, and note what failed."""
    answer = simulator.run(request)
    log.errors(NAME, np.asarray(request.members), answer.errors)
    nothing = ~np.isfinite(answer.values).any(axis=1)
    for row in np.flatnonzero(nothing).tolist():
        log.add(NAME, request.members[row], "it returned values that are not finite")
    return answer.values


def _screened(
    values: np.ndarray, members: Members, y: Array | None, log: FailureLog, kind: Any
) -> Any:
    """Return the recorded values, without those that are absurd."""
    recorded, far = _recorded(jnp.asarray(values), members, y, kind)
    for member in np.flatnonzero(np.asarray(far)).tolist():
        log.add(NAME, member, FAR)
    return recorded


@eqx.filter_jit
def _recorded(
    values: Array, members: Members, y: Array | None, kind: Any
) -> tuple[Any, Bool[Array, " n"]]:
    """Return values as `kind`, and which members have absurd ones: they count for nothing.

    What is not measured may be as far as it likes.
    """
    flat = values.reshape(values.shape[0], -1)
    known = jnp.isfinite(flat) & members.alive[:, None]
    if y is not None:
        measured = jnp.tile(~jnp.isnan(y), flat.shape[1] // y.shape[0])
        known = known & measured[None]
    far = far_members(flat, known, like(flat, members.far))
    kept = jnp.where(far.reshape(-1, *[1] * (values.ndim - 1)), jnp.nan, values)
    means = kept if kept.ndim == 2 else jnp.mean(kept, axis=1)
    rows = MemberRows(kept, members.states)
    return kind(rows, response(members.states, means)), far


@eqx.filter_jit
def _keys(key: Key, n: int, draws: int) -> Key:
    """Return the key of every draw [n r]."""
    return jax.random.split(jax.random.fold_in(key, APART), (n, draws))
