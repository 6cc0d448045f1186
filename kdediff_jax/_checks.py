"""Input checks: each names the argument, what was expected and what came.

Shapes and dtypes are checked at trace time. Values can only be checked when they are concrete;
inside `jit` or `vmap` a bad value ends in `AnalysisInfo.ok == False` instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ._typing import Array
from ._words import counted

HOSTS = {
    "dynamics": "a function of NumPy arrays becomes one by `kd.HostDynamics(function, interval)`",
    "observation": "a function of NumPy arrays becomes one by `kd.HostObservation(function)`",
}


def traced(tree: Any) -> bool:
    """Say whether any leaf is being traced, by `jit`, `vmap`, `grad` or another transformation."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def concrete(value: Any) -> np.ndarray | None:
    """Return `value` as a NumPy array, or None while it is being traced."""
    if isinstance(value, jax.core.Tracer):
        return None
    try:
        return np.asarray(value)
    except (jax.errors.TracerArrayConversionError, TypeError, ValueError):
        return None


def floating(name: str, value: Any) -> Array:
    """Return `value` as a floating array; TypeError otherwise."""
    if not hasattr(value, "dtype") and not isinstance(value, (float, list, tuple)):
        raise TypeError(f"{name}: expected a floating-point array, got {type(value).__name__}")
    given = getattr(value, "dtype", None)
    if isinstance(given, np.dtype) and given.kind in "USO":
        raise TypeError(f"{name}: expected numbers, got {given} (try `.astype(float)`)")
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name}: expected a floating dtype, got {array.dtype}")
    return array


def ensemble(name: str, value: Any, *, minimum: int = 2) -> Array:
    """Return `value` as an ensemble [n d] of at least `minimum` members."""
    array = floating(name, value)
    if array.ndim != 2:
        raise ValueError(f"{name}: expected shape (members, d), got {array.shape}")
    if array.shape[0] < minimum:
        raise ValueError(
            f"{name}: expected at least {counted(minimum, 'member')}, got {array.shape[0]}"
        )
    if array.shape[1] < 1:
        raise ValueError(f"{name}: expected at least one coordinate, got shape {array.shape}")
    return array


def vector(name: str, value: Any, size: int | None = None, what: str = "m") -> Array:
    """Return `value` as a floating vector, of length `size` where one is given."""
    array = floating(name, value)
    if array.ndim != 1 or (size is not None and array.shape[0] != size):
        expected = f"({what},)" if size is None else f"({size},)"
        raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")
    if array.shape[0] == 0:
        raise ValueError(f"{name}: expected at least one component, got shape {array.shape}")
    return array


def measured(name: str, method: str, value: Any) -> Array:
    """Return what a user's function measures of one state, a floating vector [m] with m >= 1.

    Args:
        name: the argument, "observation" or "operator".
        method: what was called, such as "`sample`".
        value: what it returned.

    Raises:
        TypeError: None, a tuple or a list, integers or booleans.
        ValueError: a number or a matrix, or no component at all.
    """
    if not hasattr(value, "dtype"):
        kind = type(value).__name__
        raise TypeError(f"{name}: expected {method} to return a vector (m,), got {kind}")
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name}: expected {method} to return a floating dtype (`.astype(x.dtype)`), got "
            f"{array.dtype}"
        )
    if array.ndim != 1 or array.shape[0] == 0:
        least = " with m >= 1" if array.ndim == 1 else ""
        raise ValueError(
            f"{name}: expected {method} to return a vector (m,){least}, got {array.shape}"
        )
    return array


def same_members(name: str, value: Array, other_name: str, other: Array) -> None:
    """Check that two ensembles have one row per member."""
    if value.shape[0] != other.shape[0]:
        raise ValueError(
            f"{name}: expected one row per member of {other_name} ({other.shape[0]}), "
            f"got {counted(value.shape[0], 'row')}"
        )


def positive(name: str, value: Any, *, zero: bool = False, infinite: bool = False) -> None:
    """Check that a number or array is positive (or 0, or infinite, where allowed), if concrete."""
    known = concrete(value)
    if known is None:
        return
    if known.dtype == bool or not np.issubdtype(known.dtype, np.number):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    good = (np.isfinite(known) | infinite) & ((known >= 0) if zero else (known > 0))
    if not np.all(good):
        kind = ("" if infinite else "finite ") + ("not negative" if zero else "positive")
        raise ValueError(f"{name}: expected a {kind} number, got {known.tolist()}")


def per_coordinate(name: str, value: Any, size: int) -> None:
    """Check that a bandwidth-like value is a scalar or has one entry per coordinate."""
    shape = jnp.shape(value)
    if shape not in ((), (size,)):
        raise ValueError(f"{name}: expected a scalar or shape ({size},), got {shape}")


def choice(name: str, value: Any, options: Iterable[str]) -> None:
    """Check that a string option is known; suggest the nearest one."""
    known = list(options)
    if value in known:
        return
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name}: expected one of {known}, got {value!r}{hint}")


def has_method(name: str, value: Any, method: str) -> None:
    """Check that an argument is an instance with the method its role needs."""
    if not callable(getattr(value, method, None)) or isinstance(value, type):
        simulates = name in HOSTS and (callable(value) or callable(getattr(value, "run", None)))
        hint = f" ({HOSTS[name]})" if simulates and not isinstance(value, type) else ""
        raise TypeError(f"{name}: expected an object with `{method}`, got {value!r}{hint}")


def count(name: str, value: Any, minimum: int = 1) -> None:
    """Check that a size is an int of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name}: expected at least {minimum}, got {value}")


def key(name: str, value: Any) -> None:
    """Check that a random key is one of JAX, of either kind."""
    dtype = getattr(value, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and (dtype != np.uint32 or np.ndim(value) == 0):
        raise TypeError(
            f"{name}: expected a random key, such as `jax.random.key(0)`, got {value!r}"
        )


def seed(name: str, value: Any) -> None:
    """Check that a seed, unless it is traced, is one that JAX tells apart from every other.

    In float32 mode `jax.random.key` takes the rest modulo 2**32: seed 2**32 would repeat seed 0.
    """
    if isinstance(value, int | np.integer) and not 0 <= value < 2**32:
        raise ValueError(f"{name}: expected from 0 to {2**32 - 1}, got {value}")


def checked_mesh(value: Any) -> Mesh:
    """Return a mesh of devices; TypeError for anything else."""
    if not isinstance(value, Mesh):
        raise TypeError(f"mesh: expected a jax.sharding.Mesh, got {value!r}")
    # axes of a mesh of `jax.make_mesh` ask for shardings that JAX's own loops do not carry
    return Mesh(value.devices, value.axis_names)


def mesh_axis(mesh: Mesh | None, axis: str | None) -> str:
    """Return the axis of a mesh that is meant, the first where none is named; "" of no mesh."""
    if mesh is None:
        if axis is not None:
            raise ValueError(f"axis: expected a mesh to go with it, got {axis!r} alone")
        return ""
    if axis is None:
        return str(mesh.axis_names[0])
    if axis not in mesh.axis_names:
        raise ValueError(f"axis: expected one of {mesh.axis_names}, got {axis!r}")
    return axis
