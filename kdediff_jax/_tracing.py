"""What a user's own class gets wrong under `jit`, told in the user's words.

Two things go wrong with code that JAX traces: a number that Python needs at once (a tracer error),
and a plain object whose numbers are compiled in, so that a later change goes unnoticed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import linecache
import sys
from collections.abc import Iterator
from types import FrameType, MethodType
from typing import Any

import equinox as eqx
import jax
import numpy as np

ERRORS = (
    jax.errors.ConcretizationTypeError,  # and of a condition: TracerBoolConversionError
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
LIBRARIES = {"kdediff_jax", "jax", "jaxlib", "numpy", "equinox", "diffrax", "jaxtyping"}
NAMES = "dynamics", "observation", "analysis"
MUTABLE = (list, dict, set, bytearray, np.ndarray)
STATIC = "declare what must stay a Python number `eqx.field(static=True)`"
CURES = {
    jax.errors.TracerBoolConversionError: f"use `jnp.where` or `lax.cond`, or {STATIC}",
    jax.errors.TracerArrayConversionError: "use `jax.numpy` (`jnp.sin`) instead of NumPy, "
    "or `kd.HostDynamics`, `kd.HostObservation`, `kd.HostOperator` for what is not JAX",
    jax.errors.NonConcreteBooleanIndexError: "use `jnp.where` instead of a boolean index",
}


@contextlib.contextmanager
def errors_in_users_words(*modules: Any) -> Iterator[None]:
    """Turn a tracer error of a user's method into one that names class, method, line and cure.

    Args:
        modules: dynamics, observation and analysis, in that order, as far as there are any.

    Raises:
        TypeError: in place of the tracer error, which is its cause.
    """
    try:
        yield
    except (TypeError, ValueError, *ERRORS) as error:
        if "Non-hashable" in str(error):  # found before anything is traced
            refuse_mutable(*modules)
        if not isinstance(error, ERRORS) and "racer" not in str(error):
            raise
        frame, line = _users_frame(error)
        if frame is None:
            raise
        code = frame.f_code
        cure = next((c for kind, c in CURES.items() if isinstance(error, kind)), STATIC)
        owner = frame.f_locals.get("self")
        name = code.co_name if owner is None else f"{type(owner).__name__}.{code.co_name}"
        text = linecache.getline(code.co_filename, line).strip()
        where = f"line {line} of {code.co_filename}" + (f": `{text}`" if text else "")
        raise TypeError(
            f"{name}, {where}: a number that JAX traces is used where Python needs its value; "
            f"the floats of a model or an observation are traced; {cure}"
        ) from error


def _users_frame(error: BaseException) -> tuple[FrameType | None, int]:
    """Return the innermost frame that is no library's, and its line."""
    found, line = None, 0
    step = error.__traceback__
    while step is not None:
        top = str(step.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if top not in LIBRARIES and top not in sys.stdlib_module_names:
            found, line = step.tb_frame, step.tb_lineno
        step = step.tb_next
    return found, line


def refuse_mutable(*modules: Any) -> None:
    """Refuse modules that are, or hold, what can change in place behind a compiled program.

    A plain Python object is compared by its identity, a static list by what has become of it: the
    program would go on with the old numbers. Functions, arrays, numbers, pytrees and what is
    compared by its value (a frozen dataclass) are good.

    Args:
        modules: dynamics, observation and analysis, in that order, as far as there are any.

    Raises:
        TypeError: naming the object, its class and what to use instead.
    """
    for name, module in zip(NAMES, modules, strict=False):
        for path, held in _held(name, module):
            owner = getattr(held, "__self__", held) if isinstance(held, MethodType) else held
            kind = type(owner).__name__
            if isinstance(owner, MUTABLE):
                raise TypeError(
                    f"{path}: expected a static field that cannot change, such as a tuple, got "
                    f"{kind}: a change in place would go unnoticed by the compiled program"
                )
            if _is_plain(owner):
                raise TypeError(
                    f"{path}: expected an `eqx.Module`, such as a class of `kd.AbstractDynamics` "
                    f"or `kd.AbstractObservation`, got {kind}, a plain Python object: its numbers "
                    "would be compiled in, and a change in place would go unnoticed"
                )


def _held(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a pytree holds apart from its arrays, static fields included, with its place."""
    if isinstance(value, eqx.Module):
        for field in dataclasses.fields(value):
            own = f"{name}.{field.name}"
            held = getattr(value, field.name, None)
            yield from [(own, held)] if field.metadata.get("static") else _held(own, held)
    elif isinstance(value, (tuple, list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _held(name, each)
    elif not eqx.is_array(value):
        yield from ((name, leaf) for leaf in jax.tree.leaves(value))


def _is_plain(value: Any) -> bool:
    """Say whether an object is an instance of a user's class that is not compared by its value."""
    kind = type(value)
    top = kind.__module__.partition(".")[0]
    if isinstance(value, type) or top in (LIBRARIES | sys.stdlib_module_names) - {"__main__"}:
        return False  # functions, numbers, `jax.custom_jvp`, ...
    return kind.__hash__ in (None, object.__hash__)
