"""A sweep's score as a heat map."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .heatmap import heat_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sweep_map(
    axes: Mapping[str, ArrayLike],
    values: ArrayLike,
    *,
    chosen: Mapping[str, float] | None = None,
    score: str = "score",
    title: str = "",
) -> "Figure":
    """Draw the score of a sweep over its first two axes, averaged over the axis ``seed``.

    Every other axis is held at its chosen value. A single axis is drawn against the seeds. Settings
    that failed for one seed are hatched.

    Args:
        axes: Values by axis name, such as ``SweepResult.axes``.
        values: The score at every point ``[*axes]``, such as ``SweepResult.values["rmse"]``.
        chosen: The point to mark, such as of `best_point`; the one with the smallest mean if not
            given.
        score: Name of the score.
        title: Headline.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together, there is no axis but ``seed`` or the chosen point
            is not on the grid.
        ImportError: If matplotlib is not installed.
    """
    grid = {name: np.asarray(axis) for name, axis in axes.items()}
    scores = np.asarray(values, dtype=np.float64)
    if scores.shape != tuple(axis.size for axis in grid.values()):
        raise ValueError(f"values: expected one a point of {tuple(grid)}, got {scores.shape}")
    names = [name for name in grid if name != "seed"]
    if not names or not scores.size:
        raise ValueError(f"axes: expected one besides the seed, got {tuple(grid)}")
    over_seeds = "seed" in grid
    means = scores.mean(axis=tuple(grid).index("seed")) if over_seeds else scores
    point = dict(chosen) if chosen is not None else _best(grid, names, means)
    shown = score.replace("_", " ")
    if len(names) == 1:
        line = np.moveaxis(scores, 0, tuple(grid).index(names[0]))
        second = grid["seed"] if over_seeds else np.array([score])
        labels = (names[0].replace("_", " "), "seed" if over_seeds else "")
        table = line.reshape(grid[names[0]].size, -1)
        return heat_map(grid[names[0]], second, table, names=labels, label=shown, title=title)
    place = (
        tuple(_index(grid, name, point) for name in names[2:]) if point else (0,) * len(names[2:])
    )
    fixed = [name for name in names[2:] if grid[name].size > 1]
    at = "".join(f", {name} = {point[name]:g}" for name in fixed if point)
    label = shown + at
    if over_seeds:
        count = grid["seed"].size
        label = f"mean {shown} over {count} seed{'s' * (count > 1)}{at}"
    pair: Any = (point[names[0]], point[names[1]]) if point else None
    x, y = (grid[name] for name in names[:2])
    titles: Any = tuple(name.replace("_", " ") for name in names[:2])
    part = means[(slice(None), slice(None), *place)]
    return heat_map(x, y, part, chosen=pair, names=titles, label=label, title=title)


def _best(grid: Mapping[str, np.ndarray], names: list[str], means: np.ndarray) -> dict[str, Any]:
    """Return the point of the smallest mean, nothing where there is none."""
    if not np.isfinite(means).any():
        return {}
    best = np.unravel_index(np.nanargmin(means), means.shape)
    return {name: grid[name][i].item() for name, i in zip(names, best, strict=True)}


def _index(grid: Mapping[str, np.ndarray], name: str, point: Mapping[str, Any]) -> int:
    """Return the place of the chosen value on an axis, known to a rounding of float32."""
    hits = np.flatnonzero(np.isclose(grid[name], point[name], rtol=1e-6, atol=0))
    if not hits.size:
        raise ValueError(
            f"chosen: expected one of {grid[name].tolist()} for {name}, got {point[name]}"
        )
    return int(hits[0])
