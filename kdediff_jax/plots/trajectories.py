"""One coordinate over time, a panel per filter."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .style import (
    GRID,
    INK,
    MUTED,
    Points,
    Series,
    canvas,
    limits,
    name_panel,
    palette,
    same_filters,
    style,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

Bands = dict[str, tuple[Points, Points, Points]]


def trajectory(
    times: ArrayLike,
    truth: ArrayLike,
    means: Series,
    lower: Series,
    upper: Series,
    *,
    coordinate: str = "state",
    time_label: str = "model time",
    notes: Mapping[str, str] | None = None,
    moment: float | None = None,
) -> "Figure":
    """Draw one coordinate over time: a panel per filter with truth, ensemble mean and band.

    A healthy filter's band holds the truth nine times in ten; on a posterior with two peaks the
    mean runs between them while the band spans both. The truth sets the scale, so a diverged
    filter may leave its panel.

    Args:
        times: Model time of the cycles ``[t]``.
        truth: True coordinate ``[t]``.
        means: Ensemble mean ``[t]`` by filter, in the order to be drawn.
        lower: 5 % quantile ``[t]`` by filter.
        upper: 95 % quantile ``[t]`` by filter.
        coordinate: Label of the coordinate, units included.
        time_label: Label of the time axis.
        notes: Short text by filter, such as its score, put after its name.
        moment: Time to be marked by a vertical line.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If lengths differ or the mappings do not name the same filters.
        ImportError: If matplotlib is not installed.
    """
    series = check_bands(times, truth, means, lower, upper)
    with style():
        figure = canvas(1.2 + 1.6 * len(means))
        draw_trajectory(figure, *series, (time_label, coordinate), notes or {}, moment)
    return figure


def check_bands(
    times: ArrayLike, truth: ArrayLike, means: Series, lower: Series, upper: Series
) -> tuple[Points, Points, Bands]:
    """Return times, truth and (mean, lower, upper) by filter as arrays of one length."""
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"times: expected shape (cycles,), not empty, got {times.shape}")
    if not means:
        raise ValueError("means: expected at least one filter, got none")
    same_filters("lower", lower, "means", means)
    same_filters("upper", upper, "means", means)

    def line(name: str, value: ArrayLike) -> Points:
        array = np.asarray(value, dtype=np.float64)
        if array.shape != times.shape:
            raise ValueError(f"{name}: expected shape {times.shape} as times, got {array.shape}")
        return array

    bands = {}
    for label in means:
        parts = (("means", means), ("lower", lower), ("upper", upper))
        mean, low, high = (line(f"{name}[{label!r}]", part[label]) for name, part in parts)
        bands[label] = (mean, low, high)
    return times, line("truth", truth), bands


def draw_trajectory(
    figure: "Figure | SubFigure",
    times: Points,
    truth: Points,
    bands: Bands,
    labels: tuple[str, str],
    notes: Mapping[str, str],
    moment: float | None,
) -> None:
    """Fill a figure or part of one with the panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    axes = figure.subplots(len(bands), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    colours = palette(bands)
    for axis, (label, (mean, low, high)) in zip(axes, bands.items(), strict=True):
        colour = colours[label]
        axis.fill_between(times, low, high, color=colour, alpha=0.28, linewidth=0, label="band")
        axis.plot(times, truth, color=INK, linewidth=1.1, label="truth")
        axis.plot(times, mean, color=colour, linewidth=1.8, label="mean")
        if moment is not None:
            axis.axvline(moment, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        name_panel(axis, label, colour, notes)
        axis.grid(color=GRID, linewidth=0.8)
        axis.margins(x=0)
    axes[0].set_ylim(limits(truth, np.concatenate([b for three in bands.values() for b in three])))
    axes[-1].set_xlabel(labels[0])
    figure.supylabel(labels[1], fontsize=10.5)
    handles = [
        Line2D([], [], color=INK, linewidth=1.1, label="truth"),
        Line2D([], [], color=MUTED, linewidth=1.8, label="ensemble mean"),
        Patch(color=MUTED, alpha=0.28, linewidth=0, label="5–95 % of the members"),
    ]
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1}
    axes[0].legend(handles=handles, ncols=3, **place)
