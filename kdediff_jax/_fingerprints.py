"""What a computation is: a digest of its program and of the arrays that it is given."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

HINT = ", a digest of its compiled code and of the arrays that it holds"


def digest(program: str, arrays: Any = ()) -> str:
    """Return a digest of a program's text and of arrays, random keys included.

    Args:
        program: what XLA is given (`lowered.as_text()`), with every number that the function read
            from outside; so that another function, or other data, gives another digest.
        arrays: a pytree of arrays.
    """
    found = hashlib.sha256(program.encode())
    for leaf in jax.tree.leaves(arrays):
        array = bits(leaf)
        found.update(f"{leaf.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]


def bits(leaf: Any) -> np.ndarray:
    """Return an array as NumPy's, a random key as the numbers that it is made of."""
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def is_key(leaf: Any) -> bool:
    """Say whether an array is one of `jax.random.key`."""
    return jnp.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key)


def refuse_other(path: Path, what: str, key: str, there: Any, here: Any, hint: str = "") -> None:
    """Raise ValueError, naming file and difference, where the two are not the same.

    Args:
        path: the checkpoint.
        what: a word for what it is of, "sweep" or "run".
        key: what is compared.
        there: its value in the file.
        here: the value asked for.
        hint: what a reader has to know of the values, such as `HINT` of the digests of functions.
    """
    if there != here:
        raise ValueError(
            f"checkpoint: {path} belongs to another {what}: {key} is {there} there, {here} here"
            f"{hint} (give another path or remove the file)"
        )
