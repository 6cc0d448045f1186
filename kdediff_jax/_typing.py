"""Array types and the one rule for numbers: every tunable number is an array leaf."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

__all__ = ["Array", "Bool", "Float", "Int", "Key", "Number", "Scalar", "as_leaf", "like", "tunable"]

Key: TypeAlias = PRNGKeyArray
Scalar: TypeAlias = Float[Array, ""]
Number: TypeAlias = Any  # an array leaf once built; users pass numbers, lists or arrays
T = TypeVar("T")


def as_leaf(value: Any) -> Any:
    """Turn a Python or NumPy number into an array leaf; leave arrays, tracers and rules alone.

    A Python float in an `eqx.Module` is static: every new value would compile a new program.
    Integer input becomes floating, because every field converted here is a continuous quantity.
    """
    if value is None or isinstance(value, eqx.Module):
        return value
    # bool is left as it is so that the checks can name it as the wrong kind
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _known(float(value))
    if isinstance(value, (list, tuple)) or type(value).__module__ == "numpy":
        array = _known(value)
        return array.astype(float) if jnp.issubdtype(array.dtype, jnp.integer) else array
    return value


_REQUIRED = object()


def tunable(default: Any = _REQUIRED, **kwargs: Any) -> Any:
    """Declare an `eqx.Module` field that holds a tunable number (see `as_leaf`)."""
    if default is not _REQUIRED:
        kwargs["default"] = default
    return eqx.field(converter=as_leaf, **kwargs)


def like(x: Array, value: Any) -> Array:
    """Return `value` as an array of `x`'s dtype, so that parameters never promote the state."""
    return jnp.asarray(value, dtype=x.dtype)


def numbers_to_leaves(tree: T) -> T:
    """Turn stray Python floats of a user's own module into array leaves (sweeps stay compiled)."""
    return jax.tree.map(lambda leaf: _known(leaf) if isinstance(leaf, float) else leaf, tree)


def _known(value: Any) -> Array:
    """Return numbers as an array whose values checks can see, also inside `jit`."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
        return jnp.asarray(value)
    with jax.ensure_compile_time_eval():
        return jnp.asarray(value)
