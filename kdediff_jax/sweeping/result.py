"""What a sweep returns, and the choice of its best point."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._checks import choice


class SweepResult(NamedTuple):
    """Scores at every point of a grid.

    Attributes:
        axes: values by axis name, floats in float64 as they were given.
        values: what `run` returns, as NumPy arrays with one leading axis per axis of the grid.
        compile_seconds, run_seconds: time of this call, for tracing and compiling and for the rest.
        batch_size: points per batch, over all devices.
        num_devices: devices used.
    """

    axes: dict[str, np.ndarray]
    values: Any
    compile_seconds: float
    run_seconds: float
    batch_size: int
    num_devices: int


def smallest(means: np.ndarray, count: int) -> list[tuple[Any, ...]]:
    """Return the places of the smallest finite means, at most `count`, the smallest first."""
    order = np.argsort(np.where(np.isfinite(means), means, np.inf), axis=None)
    found = order[: min(count, int(np.isfinite(means).sum()))]
    return [np.unravel_index(flat, means.shape) for flat in found]


def best_point(
    result: SweepResult, score: str, *, mean_over: str | tuple[str, ...] = ("seed",)
) -> tuple[dict[str, Any], np.ndarray]:
    """Choose the point with the smallest mean score.

    A NaN at any of the averaged points disqualifies the choice they belong to: settings that fail
    for some seeds must not win by their good ones.

    Args:
        result: A sweep whose `values` is a dict.
        score: Name of the score; one number per point.
        mean_over: Axes to average over; `()` for none.

    Returns:
        The chosen value of every other axis, and the means over the other axes (NaN: disqualified).

    Raises:
        ValueError: If the score or an axis is unknown, the score is not one number per point, or
            every mean is NaN.
    """
    choice("score", score, result.values)
    averaged = (mean_over,) if isinstance(mean_over, str) else tuple(mean_over)
    for name in averaged:
        choice("mean_over", name, result.axes)
    values = np.asarray(result.values[score], dtype=np.float64)
    shape = tuple(len(axis) for axis in result.axes.values())
    if values.shape != shape:
        raise ValueError(f"score: expected one number per point {shape}, got {values.shape}")
    places = tuple(i for i, name in enumerate(result.axes) if name in averaged)
    means = np.asarray(values.mean(axis=places))
    if np.isnan(means).all():
        raise ValueError(f"score: expected a point where {score!r} is a number, got NaN everywhere")
    best = np.unravel_index(np.nanargmin(means), means.shape)
    kept = [name for name in result.axes if name not in averaged]
    chosen = {name: result.axes[name][i].item() for name, i in zip(kept, best, strict=True)}
    return chosen, means
