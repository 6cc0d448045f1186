"""What a simulator on the host is: a digest of its code, and of the numbers that it reads.

A compiled program shows its text; of a Python function there are its bytecode, and what it reads
from outside: defaults, closures, global numbers, functions and the user's modules, objects that it
is a method of. Of an external program there is its file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .base import AbstractSimulator
from .program import ProgramSimulator

HOW = {"workers", "processes", "timeout", "folder"}  # how it is run, which no number depends on
DEPTH = 30  # of what holds what; deeper there are kinds alone
PLAIN = str, bytes, bool, int, float, complex, type(None), type(...), np.generic
SHARED = types.CodeType, types.CellType, tuple, frozenset
INSTALLED = "site-packages", "dist-packages"


def digest_of_simulators(modules: Any) -> str:
    """Return a digest of all simulators on the host that modules hold.

    Args:
        modules: dynamics and observation.
    """
    found = hashlib.sha256()
    for node in jax.tree.leaves(modules, is_leaf=_is_simulator):
        if _is_simulator(node):
            for part in _simulator(node):
                found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:16]


def _is_simulator(node: Any) -> bool:
    return isinstance(node, AbstractSimulator)


def _simulator(simulator: AbstractSimulator) -> Iterator[bytes]:
    """Yield what decides on the numbers of a simulator."""
    yield _name(type(simulator)).encode()
    seen: dict[int, Any] = {}
    for field in dataclasses.fields(simulator):
        if field.name not in HOW:
            yield from _parts(getattr(simulator, field.name), seen, 0)
    if isinstance(simulator, ProgramSimulator):
        for word in simulator.command:
            yield from _file(word)


def _file(word: str) -> Iterator[bytes]:
    """Yield a digest of the file that a word of a command names, if it does."""
    path = shutil.which(word) if os.path.dirname(word) == "" else word
    if path and os.path.isabs(path) and os.path.isfile(path):
        with open(path, "rb") as file:
            yield hashlib.file_digest(file, "sha256").digest()


def _parts(value: Any, seen: dict[int, Any], depth: int) -> Iterator[bytes]:
    """Yield what makes a value this one, the same in every process."""
    if isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}".encode()
    elif isinstance(value, np.ndarray | jax.Array):
        array = np.asarray(value)
        yield f"array {array.dtype} {array.shape}".encode()
        yield array.tobytes() if array.dtype.kind != "O" else b""
    elif isinstance(value, types.ModuleType):
        yield from _module(value)
    elif id(value) in seen or depth > DEPTH:
        yield _name(value).encode()
    else:
        if not isinstance(value, SHARED):  # whether two are one object is Python's choice
            seen[id(value)] = value  # kept: another must not get its number
        yield _name(type(value)).encode()
        for each in _held(value):
            yield from _parts(each, seen, depth + 1)


def _held(value: Any) -> Iterator[Any]:
    """Yield what a value is made of."""
    if isinstance(value, types.CodeType):
        yield from (value.co_code, value.co_names, value.co_consts)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value)
    elif isinstance(value, types.MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, types.CellType):
        with contextlib.suppress(ValueError):  # nothing in it yet
            yield value.cell_contents
    elif isinstance(value, dict):
        yield from (each for pair in value.items() for each in pair)
    elif isinstance(value, set | frozenset):
        yield from sorted(map(repr, value))  # no order of their own, and another in every process
    elif isinstance(value, list | tuple):
        yield from value
    elif isinstance(value, type):
        yield from _of_class(value)
    elif isinstance(value, types.BuiltinFunctionType | np.ufunc):
        yield _name(value)
    else:
        yield from (getattr(value, "__dict__", None), type(value))


def _of_class(kind: type) -> Iterator[Any]:
    """Yield the name of a class, and the methods and attributes of one of the user's."""
    yield _name(kind)
    for owner in kind.__mro__:
        module = sys.modules.get(owner.__module__)
        if module is not None and _is_users(module):
            for name, each in sorted(vars(owner).items()):
                if not name.startswith("__") or isinstance(each, types.FunctionType):
                    yield from (name, each)


def _of_function(function: types.FunctionType) -> Iterator[Any]:
    """Yield the code of a function, and what it reads from outside."""
    yield _name(function)
    module = sys.modules.get(function.__module__ or "")
    if module is not None and not _is_users(module):
        return  # of a library: its name
    yield from (function.__code__, function.__defaults__, function.__kwdefaults__)
    yield from function.__closure__ or ()
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            yield from (name, function.__globals__[name])


def _names(code: types.CodeType) -> set[str]:
    """Return the names that code reads, that of functions within it too."""
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _module(module: types.ModuleType) -> Iterator[bytes]:
    """Yield a module's name, and the source of one of the user's."""
    yield module.__name__.encode()
    path = getattr(module, "__file__", None)
    if path and _is_users(module) and Path(path).is_file():
        yield hashlib.sha256(Path(path).read_bytes()).digest()


def _is_users(module: types.ModuleType) -> bool:
    """Say whether a module is neither of Python, nor installed, nor of this package."""
    top = module.__name__.partition(".")[0]
    if top == "__main__":
        return True
    parts = Path(getattr(module, "__file__", None) or "").parts
    library = top in sys.stdlib_module_names or top == __name__.partition(".")[0]
    return not library and bool(parts) and not any(each in parts for each in INSTALLED)


def _name(value: Any) -> str:
    """Return a name, with the module of what is not the user's: theirs may be run or imported."""
    own = getattr(value, "__qualname__", type(value).__qualname__)
    place = str(getattr(value, "__module__", None) or "")
    module = sys.modules.get(place)
    return own if module is None or _is_users(module) else f"{place}.{own}"
