"""Fields: one dimension against time (Hovmöller), two dimensions at one moment."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .series import check_series, check_times
from .style import INK, MISSING, Points, canvas, headline, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_DOTS: Any = {
    "linestyle": "none",
    "markersize": 5,
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "markeredgewidth": 0.8,
}


class _Panel(NamedTuple):
    """One map: its values, the limits of its colours, and those."""

    name: str
    values: Points
    low: float
    high: float
    colours: str


def hovmoeller(
    times: ArrayLike,
    positions: ArrayLike,
    mean: ArrayLike,
    *,
    spread: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    measured: ArrayLike | None = None,
    label: str = "state",
    position_label: str = "position",
    time_label: str = "model time",
    title: str = "",
) -> "Figure":
    """Draw a field of one dimension over time: truth, mean, spread, and the mean's error.

    Truth and error are there where a truth is given, the spread where it is. A healthy filter's
    spread is large where its error is; cells without a finite value are grey.

    Args:
        times: Model time of the cycles ``[t]``.
        positions: Coordinates along the field ``[p]``, in any order.
        mean: Ensemble mean ``[t p]``.
        spread: Standard deviation of the members ``[t p]``.
        truth: True field ``[t p]``.
        measured: Coordinates that are measured, marked at the right border.
        label: Name of the field, units included.
        position_label: Label of the field's dimension.
        time_label: Label of the time axis.
        title: Headline.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together.
        ImportError: If matplotlib is not installed.
    """
    times, places = check_times(times), check_times(positions)
    shape = (times.size, places.size)
    panels = _panels(mean, spread, truth, shape, label)
    with style():
        figure = canvas(1.0 + 1.9 * len(panels))
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axis, panel in zip(axes, panels, strict=True):
            _fill(axis, panel._replace(values=panel.values.T), times, places)
            axis.set_ylabel(position_label)
            if measured is not None and np.size(measured):
                seen = np.asarray(measured, dtype=np.float64)
                where = np.full(seen.shape, axis.get_xlim()[1])
                axis.plot(where, seen, label="measured", **_DOTS, marker="<", clip_on=False)
        axes[-1].set_xlabel(time_label)
        headline(figure, title or label, axes[0].get_lines())
    return figure


def field_map(
    x: ArrayLike,
    y: ArrayLike,
    mean: ArrayLike,
    *,
    spread: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    measured: ArrayLike | None = None,
    label: str = "state",
    x_label: str = "x",
    y_label: str = "y",
    title: str = "",
) -> "Figure":
    """Draw a field of two dimensions at one moment: truth, mean, spread, and the mean's error.

    Args:
        x: Coordinates along the horizontal dimension ``[p]``, in any order.
        y: Coordinates along the vertical one ``[q]``.
        mean: Ensemble mean ``[q p]``.
        spread: Standard deviation of the members ``[q p]``.
        truth: True field ``[q p]``.
        measured: Where it is measured, pairs (x, y) ``[k 2]``.
        label: Name of the field, units included.
        x_label: Label of the horizontal dimension.
        y_label: Label of the vertical one.
        title: Headline.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together.
        ImportError: If matplotlib is not installed.
    """
    across, up = check_times(x), check_times(y)
    panels = _panels(mean, spread, truth, (up.size, across.size), label)
    with style():
        rows = 2 if len(panels) > 2 else 1
        figure = canvas(0.7 + 3.6 * rows)
        axes = figure.subplots(
            rows, -(-len(panels) // rows), sharex=True, sharey=True, squeeze=False
        )
        for axis, panel in zip(axes.flat, panels, strict=False):
            _fill(axis, panel, across, up)
            if measured is not None and np.size(measured):
                seen = np.asarray(measured, dtype=np.float64).reshape(-1, 2)
                axis.plot(seen[:, 0], seen[:, 1], label="measured", **_DOTS, marker="o")
        for axis in list(axes.flat)[len(panels) :]:
            axis.set_visible(False)
        for axis in axes[-1]:
            axis.set_xlabel(x_label)
        for axis in axes[:, 0]:
            axis.set_ylabel(y_label)
        headline(figure, title or label, axes.flat[0].get_lines())
    return figure


def _panels(
    mean: ArrayLike,
    spread: ArrayLike | None,
    truth: ArrayLike | None,
    shape: tuple[int, int],
    label: str,
) -> list[_Panel]:
    """Return what is drawn, in order; truth and mean have the same colours."""
    centre = check_series("mean", mean, shape)
    true = None if truth is None else check_series("truth", truth, shape)
    limits = _limits(centre if true is None or not np.isfinite(true).any() else true)
    panels = [] if true is None else [_Panel(f"truth of {label}", true, *limits, "viridis")]
    panels.append(_Panel(f"mean of {label}", centre, *limits, "viridis"))
    if spread is not None:
        width = check_series("spread", spread, shape)
        panels.append(_Panel("spread", width, 0.0, _limits(width)[1], "cividis"))
    if true is not None:
        error = centre - true
        largest = max(abs(limit) for limit in _limits(error))
        panels.append(_Panel("error of the mean", error, -largest, largest, "RdBu_r"))
    return panels


def _limits(values: Points) -> tuple[float, float]:
    """Return the colours' limits: all but the outermost hundredth at each end."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.quantile(finite, [0.01, 0.99])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)


def _fill(axis: "Axes", panel: _Panel, x: Points, y: Points) -> None:
    """Draw one map with its colour bar."""
    across, up = np.argsort(x), np.argsort(y)
    values = np.ma.masked_invalid(panel.values[np.ix_(up, across)])
    mesh = axis.pcolormesh(
        _edges(x[across]), _edges(y[up]), values,
        cmap=panel.colours, vmin=panel.low, vmax=panel.high,
    )  # fmt: skip
    below = bool((values < panel.low).any())
    above = bool((values > panel.high).any())
    extend = ("neither", "min", "max", "both")[below + 2 * above]
    bar: Any = axis.figure.colorbar(mesh, ax=axis, extend=extend, pad=0.015, aspect=18)
    bar.outline.set_visible(False)
    axis.set_facecolor(MISSING)
    axis.set_title(panel.name, loc="left", fontweight="bold", pad=4)


def _edges(centres: Points) -> Points:
    """Return the edges of the cells around sorted places."""
    if centres.size == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    inner = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - inner[0], 2 * centres[-1] - inner[-1]
    return np.concatenate([[first], inner, [last]])
