"""The forecast of members whose dynamics live on the host."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from .._typing import Array, Key, Scalar
from ..clock import Stride
from .base import Request
from .failures import FailureLog
from .roles import HostDynamics

NAME = "dynamics"


def step_members(
    dynamics: HostDynamics,
    keys: Key,
    ensemble: Array,
    t: Scalar,
    stride: Stride | None,
    log: FailureLog,
) -> np.ndarray:
    """Return every member one stride later [n d], NaN where it failed.

    The steps are those of `propagate`: one of the dynamics' own interval, or equal parts of the
    stride, part i with the member's key folded with i.

    Args:
        dynamics: the model.
        keys: of the members.
        ensemble: the members.
        t: model time at the start.
        stride: interval to cover and number of steps; None: one step.
        log: of the cycle's failures.
    """
    x = np.array(ensemble)
    number = x.dtype.type  # the ensemble's own arithmetic, as in a compiled program
    interval = number(np.asarray(dynamics.interval))
    steps = 1 if stride is None else int(stride.steps)
    if stride is not None and not dynamics.whole_intervals:
        interval = number(stride.interval) / number(max(steps, 1))
    for i in range(steps):
        # split among the members already: a fold per part
        words = _words(keys) if stride is None else _words(_folded(keys, i))
        now = float(number(np.asarray(t)) + number(i) * interval)
        x = _step(dynamics, words, x, now, float(interval), f"step-{i}", log)
    return x


def _step(
    dynamics: HostDynamics,
    words: np.ndarray,
    x: np.ndarray,
    t: float,
    interval: float,
    part: str,
    log: FailureLog,
) -> np.ndarray:
    """Step the sound members once."""
    sound = np.isfinite(x).all(axis=1)
    for member in np.flatnonzero(~sound).tolist():
        log.add(NAME, member, "its state was not finite")
    who = np.flatnonzero(sound)
    moved = np.full_like(x, np.nan)
    if who.size == 0:
        return moved
    request = Request(
        x[who], who.tolist(), [0] * who.size, words[who], t, interval, x.shape[1], log.cycle, part
    )
    answer = dynamics.simulator.run(request)
    log.errors(NAME, who, answer.errors)
    finite = np.isfinite(answer.values).all(axis=1)
    for member in who[~finite].tolist():
        log.add(NAME, member, "it returned values that are not finite")
    moved[who[finite]] = answer.values[finite]
    return moved


@jax.jit
def _folded(keys: Key, i: Any) -> Key:
    """Return the members' keys of part i of an interval."""
    return jax.vmap(lambda key: jax.random.fold_in(key, i))(keys)


def _words(keys: Key) -> np.ndarray:
    """Return the words of some keys [n w]."""
    return np.asarray(jax.random.key_data(keys))
