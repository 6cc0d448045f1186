"""How filters and their parts print: with their numbers, on one line where that fits."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np

WIDTH = 96  # of a line
FEW = 8  # numbers of an array that are shown; of more, its shape is
DEEP = 2  # modules inside a module's modules: only what is not as usual


def printed(value: Any, room: int = WIDTH, indent: int = 0, depth: int = 0) -> str:
    """Return a module as its class called with its settings, or any other value as it prints.

    Settings that all filters have (`safeguards`, `gross_error`) are shown where they are not as
    usual, and of modules deep inside only what is not.

    Args:
        value: a module, or what a module may hold; its arrays may be traced.
        room: columns that are left on the first line.
        indent: columns by which further lines are indented.
        depth: number of modules that it is in.
    """
    if isinstance(value, eqx.Module):
        return _called(value, room, indent, depth)
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        known = _known(value)
        return _numbers(known) if known is not None and known.size <= FEW else _shape(value)
    if type(value) in (tuple, list):
        texts = ", ".join(printed(each, 10**6, 0, depth) for each in value)
        return f"[{texts}]" if isinstance(value, list) else f"({texts}{',' * (len(value) == 1)})"
    return getattr(value, "__qualname__", None) or repr(value)


def _called(module: eqx.Module, room: int, indent: int, depth: int) -> str:
    """Return `Name(key=value, ...)`, broken into lines where it does not fit."""
    settings = [*_settings(module, depth)]

    def whole(value: Any) -> str:
        return printed(value, 10**6, 0, depth + 1)

    name = type(module).__name__
    text = f"{name}({', '.join(f'{key}={whole(value)}' for key, value in settings)})"
    if len(text) <= room or not settings:
        return text
    inner = indent + 4
    lines = [
        f"{' ' * inner}{key}={printed(each, WIDTH - inner - len(key) - 2, inner, depth + 1)},"
        for key, each in settings
    ]
    return "\n".join([f"{name}(", *lines, f"{' ' * indent})"])


def _settings(module: eqx.Module, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield the fields that are shown: first those of the class itself."""
    own = inspect.get_annotations(type(module))
    fields = [field for field in dataclasses.fields(module) if field.repr]
    for field in sorted(fields, key=lambda field: field.name not in own):
        value = getattr(module, field.name, None)  # of a module half made
        common = field.name not in own and own
        if not ((common or depth >= DEEP) and _is_usual(field, value)):
            yield field.name, value


def _is_usual(field: Any, value: Any) -> bool:
    """Say whether a field has its default."""
    if field.default is not dataclasses.MISSING:
        usual = field.default
    elif field.default_factory is not dataclasses.MISSING:
        usual = field.default_factory()
    else:
        return False
    convert = field.metadata.get("converter")
    return _same(usual if convert is None else convert(usual), value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, eqx.Module):
        names = [field.name for field in dataclasses.fields(one)]
        return type(one) is type(other) and all(
            _same(getattr(one, name, None), getattr(other, name, None)) for name in names
        )
    if isinstance(one, jax.Array | np.ndarray):
        first, second = _known(one), _known(other)
        return first is not None and second is not None and np.array_equal(first, second)
    return type(one) is type(other) and one == other


def _known(value: Any) -> np.ndarray | None:
    """Return an array whose numbers are there: not traced, given away or on another host."""
    if isinstance(value, jax.core.Tracer) or not isinstance(
        value, jax.Array | np.ndarray | np.generic
    ):
        return None
    if isinstance(value, jax.Array):
        random_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        if random_key or value.is_deleted() or not value.is_fully_addressable:
            return None
    return np.asarray(value)


def _shape(value: Any) -> str:
    return f"{value.dtype}[{', '.join(map(str, value.shape))}]"


def _numbers(array: np.ndarray) -> str:
    """Return the shortest decimals that give the numbers back, with the brackets of their axes."""
    if array.ndim:
        return f"[{', '.join(_numbers(np.asarray(each)) for each in array)}]"
    text = str(array[()])
    return text[:-2] if text.endswith(".0") else text
