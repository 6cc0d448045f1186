"""Shape and dtype checks shared by the scores; all of them run at trace time."""

from numpy.typing import ArrayLike

from .. import _checks
from .._typing import Array
from .._words import counted


def floating(name: str, value: ArrayLike, ndim: int) -> Array:
    """Return ``value`` as floating array with at least ``ndim`` axes, or raise naming ``name``."""
    array = _checks.floating(name, value)
    if array.ndim < ndim:
        raise ValueError(f"{name}: expected at least {ndim} axes, got shape {array.shape}")
    return array


def matching(name: str, value: ArrayLike, shape: tuple[int, ...], like: Array, other: str) -> Array:
    """Return ``value`` as an array of this shape and of the dtype of ``like``, or raise."""
    array = _checks.floating(name, value)
    if array.shape != shape:
        raise ValueError(
            f"{name}: expected shape {shape} to go with {other} of shape {like.shape}, "
            f"got {array.shape}"
        )
    if array.dtype != like.dtype:
        raise TypeError(f"{name}: expected the dtype of {other}, {like.dtype}, got {array.dtype}")
    return array


def ensemble_and_truth(
    ensemble: ArrayLike,
    truth: ArrayLike,
    *,
    names: tuple[str, str] = ("ensemble", "truth"),
    min_members: int = 1,
) -> tuple[Array, Array]:
    """Return an ensemble ``[*t n d]`` and its truth ``[*t d]``, checked against each other."""
    members = floating(names[0], ensemble, 2)
    if members.shape[-2] < min_members:
        raise ValueError(
            f"{names[0]}: expected at least {counted(min_members, 'member')} on axis -2, "
            f"got shape {members.shape}"
        )
    expected = (*members.shape[:-2], members.shape[-1])
    return members, matching(names[1], truth, expected, members, names[0])
