"""One coordinate over time, a panel per filter."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Bands = dict[str, tuple[Points, Points, Points]]
Lines = dict[str, Points]  # of truth and measurements, where they are known

BAND = "5–95 % of the members"
_DOTS: Any = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "markeredgewidth": 0.9,
}


def trajectory(
    times: ArrayLike,
    truth: ArrayLike | None,
    means: Series,
    lower: Series,
    upper: Series,
    *,
    coordinate: str = "state",
    time_label: str = "model time",
    notes: Mapping[str, str] | None = None,
    moment: float | None = None,
    measurements: ArrayLike | None = None,
    band: str = BAND,
) -> "Figure":
    """Draw one coordinate over time: a panel per filter with truth, ensemble mean and band.

    A healthy filter's band holds the truth nine times in ten; on a posterior with two peaks the
    mean runs between them while the band spans both. Truth and measurements set the scale, so a
    diverged filter may leave its panel.

    Args:
        times: Model time of the cycles ``[t]``.
        truth: True coordinate ``[t]``, None where it is not known.
        means: Ensemble mean ``[t]`` by filter, in the order to be drawn.
        lower: 5 % quantile ``[t]`` by filter.
        upper: 95 % quantile ``[t]`` by filter.
        coordinate: Label of the coordinate, units included.
        time_label: Label of the time axis.
        notes: Short text by filter, such as its score, put after its name.
        moment: Time to be marked by a vertical line.
        measurements: Measurements of this coordinate itself ``[t]``, NaN where there is none.
        band: What the band is, where it is not that.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If lengths differ or the mappings do not name the same filters.
        ImportError: If matplotlib is not installed.
    """
    series = check_bands(times, truth, means, lower, upper, measurements)
    with style():
        figure = canvas(1.2 + 1.6 * len(means))
        draw_trajectory(figure, *series, (time_label, coordinate), notes or {}, moment, band)
    return figure


def check_bands(
    times: ArrayLike,
    truth: ArrayLike | None,
    means: Series,
    lower: Series,
    upper: Series,
    measurements: ArrayLike | None = None,
) -> tuple[Points, Lines, Bands]:
    """Return times, truth and measurements, and (mean, lower, upper) by filter, of one length."""
    times = check_times(times)
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
    known = {"truth": truth, "measurement": measurements}
    lines = {name: line(name, value) for name, value in known.items() if value is not None}
    return times, lines, bands


def check_times(times: ArrayLike) -> Points:
    """Return times as an array [t] that is not empty."""
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"times: expected shape (cycles,), not empty, got {times.shape}")
    return times


def draw_trajectory(
    figure: "Figure | SubFigure",
    times: Points,
    known: Lines,
    bands: Bands,
    labels: tuple[str, str],
    notes: Mapping[str, str],
    moment: float | None,
    band: str = BAND,
) -> None:
    """Fill a figure or part of one with the panels."""
    axes = figure.subplots(len(bands), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    colours = palette(bands)
    for axis, (label, (mean, low, high)) in zip(axes, bands.items(), strict=True):
        colour = colours[label]
        axis.fill_between(times, low, high, color=colour, alpha=0.28, linewidth=0, label="band")
        draw_known(axis, times, known)
        axis.plot(times, mean, color=colour, label="mean", **mean_look(times))
        if moment is not None:
            axis.axvline(moment, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        name_panel(axis, label, colour, notes)
        axis.grid(color=GRID, linewidth=0.8)
        span_times(axis, times)
    trusted = np.concatenate([np.zeros(0), *known.values()])
    axes[0].set_ylim(
        limits(trusted, np.concatenate([b for three in bands.values() for b in three]))
    )
    axes[-1].set_xlabel(labels[0])
    figure.supylabel(labels[1], fontsize=10.5)
    handles = [*known_handles(known), *band_handles({band: 0.28})]
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.1}
    axes[0].legend(handles=handles, ncols=len(handles), **place)


def draw_known(axis: "Axes", times: Points, known: Lines) -> None:
    """Draw truth and measurements, those of them that there are."""
    if "truth" in known:
        axis.plot(times, known["truth"], color=INK, linewidth=1.1, label="truth")
    if "measurement" in known:
        axis.plot(times, known["measurement"], label="measurement", **_DOTS)


def mean_look(times: Points) -> dict[str, Any]:
    """Return how a mean is drawn: as a line, or as a dot where there is a single cycle."""
    return {"linewidth": 1.8} if times.size > 1 else {"marker": "o", "linestyle": "none"}


def span_times(axis: "Axes", times: Points) -> None:
    """Let the axis hold the times and no more; of a single one, some room on both sides."""
    low, high = float(times.min()), float(times.max())
    axis.set_xlim((low, high) if high > low else (low - 0.5, low + 0.5))


def known_handles(known: Lines) -> list["Artist"]:
    """Return the legend entries of `draw_known`."""
    from matplotlib.lines import Line2D

    looks: Any = {"truth": {"color": INK, "linewidth": 1.1}, "measurement": _DOTS}
    return [Line2D([], [], label=name, **looks[name]) for name in looks if name in known]


def band_handles(bands: Mapping[str, float]) -> list["Artist"]:
    """Return the legend entries of a mean and its bands, whose opacity is given by label."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    mean = Line2D([], [], color=MUTED, linewidth=1.8, label="ensemble mean")
    patches = [Patch(color=MUTED, alpha=a, linewidth=0, label=n) for n, a in bands.items()]
    return [mean, *patches]
