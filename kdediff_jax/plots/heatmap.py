"""A score over two parameters, a cell for each pair of values."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .style import INK, Points, canvas, style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEW = 16
_WRITTEN = 120  # cells; more would be unreadable
_FAILED: Any = {"facecolor": "#E9EBEE", "edgecolor": "#B4BAC3", "hatch": "////", "linewidth": 0}


def heat_map(
    x: ArrayLike,
    y: ArrayLike,
    values: ArrayLike,
    *,
    chosen: tuple[float, float] | None = None,
    names: tuple[str, str] = ("x", "y"),
    label: str = "score",
    title: str = "",
) -> "Figure":
    """Draw a score over two parameters, such as the energy score over two bandwidths.

    Each pair has a cell of the same size, however the parameters are spaced. Colours span the
    better part of the scores: what lies far above or below the rest goes to the colour bar's arrow
    instead of flattening everything else. Up to 120 cells have their number written in them.

    Args:
        x: Values of the horizontal parameter.
        y: Values of the vertical one.
        values: Score of each pair ``[x y]``; not finite where the run failed.
        chosen: The pair to mark.
        names: Labels of the two parameters, units included.
        label: Label of the score.
        title: Headline.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes disagree, an axis is empty, or the chosen pair is not on the grid.
        ImportError: If matplotlib is not installed.
    """
    columns, rows = np.asarray(x), np.asarray(y)
    scores = np.asarray(values, dtype=np.float64)
    for name, axis in (("x", columns), ("y", rows)):
        if axis.ndim != 1 or axis.size == 0:
            raise ValueError(f"{name}: expected a list of values, got shape {axis.shape}")
    if scores.shape != (columns.size, rows.size):
        raise ValueError(
            f"values: expected shape {(columns.size, rows.size)} as x and y, got {scores.shape}"
        )
    place = None if chosen is None else (_place(columns, chosen, 0), _place(rows, chosen, 1))
    with style():
        figure = canvas(float(np.clip(1.9 + 0.5 * rows.size, 3.4, 9.0)))
        axis = figure.add_subplot()
        handles = _draw(axis, scores, label)
        if place is not None:
            handles.append(_mark(axis, place))
        for ticks, entries, name in ((axis.xaxis, columns, names[0]), (axis.yaxis, rows, names[1])):
            step = -(-entries.size // 16)  # labels that do not run into each other
            floats = entries.dtype.kind == "f"
            shown = range(0, entries.size, step)
            ticks.set_ticks(
                list(shown), [f"{entries[i]:.3g}" if floats else str(entries[i]) for i in shown]
            )
            ticks.set_label_text(name)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        # A headline of one space keeps the line that the legend shares.
        figure.suptitle(title or " ", x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        if handles:
            legend = figure.legend(handles=handles, loc="upper right", ncols=2, borderaxespad=0.2)
            legend.set_in_layout(False)
    return figure


def colour_limits(scores: Points) -> tuple[float, float]:
    """Return the range of colours: all finite scores but those far from the lower half of them.

    Far is six times the distance between two low quantiles: scores that are minimised have their
    long tail above, and it may hold most of the cells.
    """
    finite = scores[np.isfinite(scores)]
    if finite.size == 0:
        return 0.0, 1.0
    q05, q25 = np.quantile(finite, [0.05, 0.25])
    room = 6 * (q25 - q05)
    if finite.size < _FEW:  # its low quantiles are a cell or two
        room = max(room, 2 * (np.median(finite) - q25))
    near = finite[np.abs(finite - q25) <= room] if room > 0 else finite
    return float(near.min()), float(near.max())


def _draw(axis: "Axes", scores: Points, label: str) -> list["Artist"]:
    """Fill the cells; return what the legend has to explain."""
    from matplotlib.patches import Patch, Rectangle

    finite = np.isfinite(scores)
    low, high = colour_limits(scores)
    cells = np.ma.masked_invalid(scores).T
    width = 2.0 if scores.size <= _WRITTEN else 0.0
    edges = [np.arange(n + 1) - 0.5 for n in scores.shape]
    mesh = axis.pcolormesh(
        *edges, cells, cmap="viridis", vmin=low, vmax=high, edgecolors="white", linewidth=width
    )
    for i, j in zip(*np.nonzero(~finite), strict=True):
        corner = (i - 0.5, j - 0.5)
        axis.add_patch(Rectangle(corner, 1, 1, **_FAILED))
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="white", linewidth=width))
    if finite.any():
        below, above = scores[finite].min() < low, scores[finite].max() > high
        extend = ("neither", "min", "max", "both")[below + 2 * above]
        bar = axis.figure.colorbar(
            mesh, ax=axis, extend=extend, label=label, pad=0.02, aspect=24, fraction=0.05
        )
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.ax.tick_params(length=0)
    if scores.size <= _WRITTEN:
        size = float(np.clip(150 / scores.shape[0], 6.0, 10.0))
        for (i, j), score in np.ndenumerate(scores):
            if finite[i, j]:
                ink = INK if score > 0.5 * (low + high) else "white"
                axis.text(i, j, _short(score), color=ink, ha="center", va="center", fontsize=size)
    return [] if finite.all() else [Patch(**_FAILED, label="failed")]


def _short(score: float) -> str:
    return f"{score:.0f}" if 100 <= abs(score) < 1e5 else f"{score:.3g}"


def _mark(axis: "Axes", place: tuple[int, int]) -> "Artist":
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    corner = (place[0] - 0.5, place[1] - 0.5)
    for colour, width in (("white", 5.0), ("#D55E00", 2.5)):
        box = Rectangle(corner, 1, 1, fill=False, edgecolor=colour, linewidth=width, zorder=4)
        box.set_clip_on(False)
        axis.add_patch(box)
    look: Any = {"linestyle": "none", "markerfacecolor": "none", "markeredgewidth": 2.5}
    return Line2D(
        [], [], marker="s", markersize=10, markeredgecolor="#D55E00", label="chosen", **look
    )


def _place(axis: np.ndarray, chosen: tuple[float, float], which: int) -> int:
    """Index of the chosen value; float32 axes and their float64 values are the same here."""
    hits = np.flatnonzero(np.isclose(axis, chosen[which], rtol=1e-6, atol=0))
    if hits.size == 0:
        raise ValueError(
            f"chosen: expected one of {axis.tolist()} for {'xy'[which]}, got {chosen[which]}"
        )
    return int(hits[0])
