"""Is the ensemble's width honest, where the truth is known: ranks, and spread against error."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .style import (
    GRID,
    INK,
    MUTED,
    Points,
    Series,
    canvas,
    headline,
    name_panel,
    palette,
    same_filters,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = 20


def rank_histogram(
    ensembles: Series,
    truth: ArrayLike,
    *,
    bars: int | None = None,
    label: str = "all coordinates",
) -> "Figure":
    """Draw how often the truth took each rank among the members, a panel per filter.

    Flat within the grey band is honest; a U says too sure, a hill too wide, a slope biased. Bars of
    several ranks show the mean count of these. The
    band is two standard deviations of independent counts; those of successive cycles and of
    neighbouring coordinates are not independent and scatter more. A cycle where the truth or a
    member of a coordinate is NaN has no rank and does not count. The counts themselves are
    `metrics.rank_histogram`'s.

    Args:
        ensembles: Members ``[t n d]`` or ``[t n]`` by filter.
        truth: True states ``[t d]`` or ``[t]``.
        bars: How many bars; of the n + 1 ranks, at most 20 if not given.
        label: What was ranked.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together, or there are fewer than two bars or more than
            n + 1.
        ImportError: If matplotlib is not installed.
    """
    ranks = {name: _ranks(name, members, truth) for name, members in ensembles.items()}
    if not ranks:
        raise ValueError("ensembles: expected at least one filter, got none")
    edges = {name: _edges(bars, size) for name, (_, size) in ranks.items()}
    with style():
        figure = canvas(4.2)
        axes = figure.subplots(1, len(ranks), squeeze=False)[0]
        colours = palette(ranks)
        for axis, (name, (found, _)) in zip(axes, ranks.items(), strict=True):
            _draw_ranks(axis, found, edges[name], colours[name])
            name_panel(axis, name, colours[name], {}, width=110 // len(ranks))
            axis.set_xlabel("members below the truth")
        axes[0].set_ylabel("count per rank")
        headline(figure, f"Rank of the truth, {label}", _rank_handles())
    return figure


def spread_error(
    spreads: Series,
    errors: Series,
    *,
    bins: int = 10,
    label: str = "all coordinates",
) -> "Figure":
    """Draw the error of the mean against the spread of the members, a panel per filter.

    Cycles and coordinates are put in bins of equal number by their spread; a dot is the root mean
    square of each. On the diagonal the spread says how large the error is (with N members the
    error is larger by sqrt(1 + 1/N) even then). Above it the filter is too sure of itself.

    Args:
        spreads: Standard deviation of the members, any shape, by filter.
        errors: Mean minus truth, of the same shape, by filter.
        bins: Number of dots.
        label: What was compared, units included.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together, or there is no bin.
        ImportError: If matplotlib is not installed.
    """
    same_filters("errors", errors, "spreads", spreads)
    if not spreads or bins < 1:
        raise ValueError(f"spreads: expected filters and bins, got {list(spreads)}, {bins} bins")
    dots = {name: _binned(name, spreads[name], errors[name], bins) for name in spreads}
    with style():
        figure = canvas(float(np.clip(1.2 + 10.5 / len(dots), 3.4, 5.0)))
        axes: Any = figure.subplots(1, len(dots), sharex=True, sharey=True, squeeze=False)[0]
        colours = palette(dots)
        every = np.concatenate([part.ravel() for part in dots.values()] or [np.zeros(0)])
        every = every[every > 0]
        low, high = (every.min() / 1.5, every.max() * 1.5) if every.size else (0.1, 10.0)
        for axis, (name, (widths, misses)) in zip(axes, dots.items(), strict=True):
            axis.plot([low, high], [low, high], color=INK, linewidth=1.2, label="spread = error")
            look = {"marker": "o", "markersize": 7, "linewidth": 1.2, "markeredgecolor": "white"}
            axis.plot(widths, misses, color=colours[name], label="bins", **look)
            axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
            axis.set_box_aspect(1)
            name_panel(axis, name, colours[name], {}, width=110 // len(dots))
            axis.grid(color=GRID, linewidth=0.8)
            axis.set_xlabel("spread")
        axes[0].set_ylabel("error of the mean")
        headline(figure, f"Spread against error, {label}", [axes[0].lines[0]])
    return figure


def _ranks(name: str, members: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.intp], int]:
    """Return the ranks that there are, and the number of members."""
    cloud, true = np.asarray(members), np.asarray(truth)
    if cloud.ndim == 2:
        cloud = cloud[..., None]
    if true.ndim == 1:
        true = true[:, None]
    if cloud.ndim != 3 or true.shape != (cloud.shape[0], cloud.shape[2]) or 0 in cloud.shape:
        raise ValueError(
            f"ensembles[{name!r}]: expected (t, n, d) with truth (t, d), got {np.shape(members)} "
            f"and {np.shape(truth)}"
        )
    below = (cloud < true[:, None, :]).sum(axis=1)
    valid = ~(np.isnan(true) | np.isnan(cloud).any(axis=1))
    return below[valid], cloud.shape[1]


def _edges(bars: int | None, members: int) -> NDArray[np.intp]:
    """Return the first rank of every bar, and one after the last rank."""
    ranks = members + 1
    if bars is None:
        equal = [b for b in range(BARS, 7, -1) if ranks % b == 0]
        bars = next(iter(equal), min(ranks, BARS))
    if not 2 <= bars <= ranks:
        raise ValueError(f"bars: expected 2 to {ranks}, the number of ranks, got {bars}")
    return np.arange(bars + 1) * ranks // bars


def _draw_ranks(
    axis: "Axes", ranks: NDArray[np.intp], edges: NDArray[np.intp], colour: str
) -> None:
    """Draw the counts, and where flat ones lie."""
    widths = np.diff(edges)
    counts = np.histogram(ranks, bins=edges - 0.5)[0] / widths
    shares = widths / edges[-1]
    expected = len(ranks) * shares / widths
    scatter = 2 * np.sqrt(len(ranks) * shares * (1 - shares)) / widths
    where = edges - 0.5
    low, high = np.maximum(expected - scatter, 0), expected + scatter
    axis.stairs(high, where, baseline=low, fill=True, color=GRID, zorder=0, label="band")
    axis.stairs(expected, where, color=MUTED, linewidth=1.2, baseline=None, label="flat")
    axis.stairs(counts, where, fill=True, color=colour, alpha=0.5, label="counts")
    axis.stairs(counts, where, color=colour, linewidth=1.2)
    axis.set_xlim(where[0], where[-1])
    axis.set_ylim(bottom=0)


def _rank_handles() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    flat = Line2D([], [], color=MUTED, linewidth=1.2, label="flat")
    return [flat, Patch(color=GRID, label="± 2 standard deviations of independent counts")]


def _binned(name: str, spread: ArrayLike, error: ArrayLike, bins: int) -> Points:
    """Return the root mean squares of spread and error in each bin [2 b]."""
    width, miss = np.asarray(spread, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if width.shape != miss.shape:
        raise ValueError(f"errors[{name!r}]: expected shape {width.shape}, got {miss.shape}")
    finite = np.isfinite(width) & np.isfinite(miss)
    width, miss = width[finite], miss[finite]
    order = np.argsort(width, kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    pairs = [(np.mean(width[p] ** 2) ** 0.5, np.mean(miss[p] ** 2) ** 0.5) for p in parts]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2).T
