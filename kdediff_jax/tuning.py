"""Tuning by gradient: positive numbers that minimise a score through the whole compiled run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ._checks import choice, concrete, count, floating
from ._typing import Array, Float, Key


class TuneResult(NamedTuple):
    """Outcome of `tune`.

    Attributes:
        params: the numbers of the smallest loss seen.
        loss: that loss.
        losses: the loss before every step.
        history: the numbers before every step, with a leading axis.
    """

    params: Any
    loss: Float[Array, ""]
    losses: Float[Array, " steps"]
    history: Any


def tune(
    loss: Callable[..., Array],
    init: Any,
    *,
    optimizer: optax.GradientTransformation | None = None,
    steps: int = 50,
    key: Key | None = None,
    mode: str = "reverse",
) -> TuneResult:
    """Minimise a loss over positive numbers, in their logarithms; one compiled program.

    The loss may be any score of a filtering run, such as the energy score of the next measurement
    given the forecast: it needs measurements only, not the truth. The gradient goes through every
    adaptive solve of the run. A step whose loss or gradient is not finite changes nothing.

    Args:
        loss: params -> scalar, or (params, key) -> scalar if a key is given.
        init: pytree of positive numbers, such as {"state_bandwidth": 0.5, "obs_bandwidth": 2.0}.
        optimizer: any optax one; by default Adam with a learning rate of 0.1, clipped to a
            gradient of norm 1.
        steps: optimiser steps.
        key: a fresh `fold_in(key, step)` goes to the loss; without it the loss is deterministic.
        mode: "reverse" differentiation, or "forward" for a few numbers and long runs (the memory
            does not grow with the number of cycles; diffrax then needs `adjoint=DirectAdjoint()`
            or `ForwardMode()`).

    Raises:
        ValueError: a number that is not positive, an unknown mode.
        TypeError: an integer in `init`, a loss that is not a callable.
    """
    choice("mode", mode, ("reverse", "forward"))
    count("steps", steps)
    if not callable(loss):
        raise TypeError(f"loss: expected a function of the numbers, got {loss!r}")
    start = jax.tree_util.tree_map_with_path(_logarithm, init)
    if optimizer is None:
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1))

    def at(logs: Any, index: Array) -> Array:
        params = jax.tree.map(jnp.exp, logs)
        return loss(params) if key is None else loss(params, jax.random.fold_in(key, index))

    def value_and_gradient(logs: Any, index: Array) -> tuple[Array, Any]:
        if mode == "reverse":
            return jax.value_and_grad(at)(logs, index)
        return at(logs, index), jax.jacfwd(at)(logs, index)

    visited, losses = _descend(start, value_and_gradient, optimizer, steps)
    history = jax.tree.map(jnp.exp, visited)
    best = jnp.argmin(jnp.where(jnp.isfinite(losses), losses, jnp.inf))
    return TuneResult(jax.tree.map(lambda h: h[best], history), losses[best], losses, history)


def _descend(
    start: Any,
    value_and_gradient: Callable[[Any, Array], tuple[Array, Any]],
    optimizer: optax.GradientTransformation,
    steps: int,
) -> tuple[Any, Float[Array, " steps"]]:
    """Return the logarithms before every step and the loss there, one compiled program."""

    def step(carry: tuple[Any, Any], index: Array) -> tuple[tuple[Any, Any], tuple[Any, Array]]:
        logs, state = carry
        value, gradient = value_and_gradient(logs, index)
        # optax mixes dtypes and ranks freely, which a program may have forbidden
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, moved = optimizer.update(gradient, state, logs)
            updated = optax.apply_updates(logs, updates)
        finite = jnp.isfinite(value) & jnp.all(
            jnp.asarray([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient)])
        )
        new, kept = jax.tree.map(
            lambda a, b: jnp.where(finite, a, b), (updated, moved), (logs, state)
        )
        return (new, kept), (logs, value)

    @jax.jit
    def run(logs: Any) -> tuple[Any, Array]:
        carry = (logs, optimizer.init(logs))
        return lax.scan(step, carry, jnp.arange(steps))[1]

    return run(start)


def _logarithm(path: Any, value: Any) -> Array:
    """Return the logarithm of a positive number of `init`, named by its place there."""
    name = "init" + jax.tree_util.keystr(path)
    array = floating(name, value)
    known = concrete(array)
    if known is not None and not (known > 0).all():
        raise ValueError(f"{name}: expected positive numbers, got {known.tolist()}")
    return jnp.log(array)
