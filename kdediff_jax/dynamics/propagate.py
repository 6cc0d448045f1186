"""Stepping a model over an interval of any length."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float, Key, Scalar, like
from ..clock import Stride
from ..numerics import row_major
from .base import AbstractDynamics


def takes_interval(dynamics: AbstractDynamics) -> bool:
    """Say whether the model's `step` accepts the interval that it is to cover.

    A wrapper whose `step` passes on what it is given, as `**interval`, accepts what its `wrapped`
    model does. One that says `whole_intervals` does not.
    """
    parameters = inspect.signature(dynamics.step).parameters
    if getattr(dynamics, "whole_intervals", False) or "interval" not in parameters:
        return False
    passed_on = parameters["interval"].kind is inspect.Parameter.VAR_KEYWORD
    wrapped = getattr(dynamics, "wrapped", None)
    return takes_interval(wrapped) if passed_on and wrapped is not None else True


def one_step(
    dynamics: AbstractDynamics, key: Key, x: Float[Array, " d"], t: Scalar, **interval: Scalar
) -> Float[Array, " d"]:
    """Call the model's `step` once.

    Raises:
        ValueError: `step` does not return what it was given, a state of x's shape and dtype.
    """
    moved: Any = dynamics.step(key, x, t, **interval)
    shape, dtype = getattr(moved, "shape", None), getattr(moved, "dtype", None)
    if shape != x.shape or dtype != x.dtype:
        got = type(moved).__name__ if dtype is None else f"{dtype}{list(moved.shape)}"
        raise ValueError(
            f"dynamics: expected `step` to return {x.dtype}{list(x.shape)} as it was given, "
            f"got {got}"
        )
    return row_major(moved)


def propagate(
    dynamics: AbstractDynamics,
    key: Key,
    x: Float[Array, " d"],
    t: Scalar,
    stride: Stride | None,
    bound: int | None,
) -> Float[Array, " d"]:
    """Step a member over its next stride, in equal steps.

    Args:
        dynamics: the model. Where its `step` takes no interval, each step covers the model's own.
        key: random key; step i folds in i.
        x: state at t.
        t: model time at the start.
        stride: interval to cover and number of steps; None: one step of the model's own interval.
        bound: largest number of steps, known while compiling: the loop is a scan, differentiable
            in reverse. None: any number, but no reverse differentiation.
    """
    if stride is None:
        return one_step(dynamics, key, x, t)
    steps = stride.steps
    varying = takes_interval(dynamics)
    each = like(x, stride.interval) / jnp.maximum(steps, 1).astype(x.dtype)
    h = each if varying else like(x, dynamics.interval)
    given = {"interval": h} if varying else {}

    def step(i: Array, x: Array) -> Array:
        now = t + i.astype(x.dtype) * h
        return one_step(dynamics, jax.random.fold_in(key, i), x, now, **given)

    if bound is None:
        return lax.fori_loop(jnp.int32(0), steps, step, x)

    def within(x: Array, i: Array) -> tuple[Array, None]:
        return lax.cond(i < steps, step, lambda i, x: x, i, x), None

    return lax.scan(within, x, jnp.arange(bound, dtype=jnp.int32))[0]
