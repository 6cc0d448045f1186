"""What a run reports of itself: innovations, effective members, steps; healthy ranges marked."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..diagnosis.checks import OVER, UNDER, handful
from .series import check_series, check_times
from .style import (
    GRID,
    HEALTHY,
    INK,
    MUTED,
    Points,
    Series,
    canvas,
    headline,
    name_panel,
    palette,
    style,
)
from .trajectories import mean_look, span_times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WINDOW = 20  # a run has so many windows of a running mean, of at least 5 cycles


def innovations(
    times: ArrayLike, innovation: Series, *, time_label: str = "model time"
) -> "Figure":
    """Draw the normalised innovation of every cycle, and its distribution: a row per filter.

    Its mean over a run should be 1; the range in which `diagnose` finds nothing is green. The line
    is a running mean. A single cycle may be anywhere: with one measured component a tenth of the
    healthy cycles lies above 2.7. Cycles without a measurement have none.

    Args:
        times: Model time of the cycles ``[t]``.
        innovation: ``info.normalised_innovation`` ``[t]`` by filter.
        time_label: Label of the time axis.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together.
        ImportError: If matplotlib is not installed.
    """
    times = check_times(times)
    values = _checked("innovation", innovation, times)
    with style():
        figure = canvas(1.2 + 1.7 * len(values))
        axes: Any = figure.subplots(
            len(values), 2, sharex="col", sharey="col", squeeze=False, width_ratios=[3, 1]
        )
        colours = palette(values)
        every = np.concatenate(list(values.values()))
        bins = np.geomspace(*innovation_limits(every), 25)
        for (left, right), (name, line) in zip(axes, values.items(), strict=True):
            draw_innovation(left, times, line, colours[name])
            right.hist(line[np.isfinite(line)], bins=bins, color=colours[name], alpha=0.6)
            right.axvspan(OVER, UNDER, color=HEALTHY, zorder=0)
            right.axvline(1.0, color=INK, linewidth=1.0)
            right.set_xscale("log")
            right.set_ylabel("cycles")
            known = line[np.isfinite(line)]
            mean = f"mean {known.mean():.3g}" if known.size else "none"
            name_panel(left, name, colours[name], {name: mean})
        axes[0][0].set_ylim(*innovation_limits(every))
        axes[-1][0].set_xlabel(time_label)
        axes[-1][1].set_xlabel("normalised innovation")
        lines = [("running mean", MUTED), ("expected, 1", INK)]
        headline(figure, "Normalised innovation", _handles(lines))
    return figure


def effort(
    times: ArrayLike,
    ess: Series,
    steps: Series,
    members: int,
    *,
    rejected: Series | None = None,
    time_label: str = "model time",
) -> "Figure":
    """Draw the effective sample size and the solver's steps over time, a row per filter.

    Green is where `diagnose` finds nothing: more than a handful of effective members.

    Args:
        times: Model time of the cycles ``[t]``.
        ess: ``info.ess`` ``[t]`` by filter.
        steps: ``info.num_steps`` ``[t]`` by filter; 0 for filters without a solver.
        members: Ensemble size N.
        rejected: ``info.num_rejected`` ``[t]`` by filter.
        time_label: Label of the time axis.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together.
        ImportError: If matplotlib is not installed.
    """
    times = check_times(times)
    sizes = _checked("ess", ess, times)
    counts = {name: check_series("steps", steps[name], times.shape) for name in sizes}
    again = {name: check_series("rejected", v, times.shape) for name, v in (rejected or {}).items()}
    with style():
        figure = canvas(1.2 + 1.7 * len(sizes))
        axes: Any = figure.subplots(len(sizes), 2, sharex=True, squeeze=False)
        colours = palette(sizes)
        for (left, right), (name, line) in zip(axes, sizes.items(), strict=True):
            draw_ess(left, times, line, members, colours[name])
            draw_steps(right, times, counts[name], again.get(name), colours[name])
            name_panel(left, name, colours[name], {})
        top = max(axis.get_ylim()[1] for axis in axes[:, 1])
        for axis in axes[:, 1]:
            axis.set_ylim(0, top)
        for axis in axes[-1]:
            axis.set_xlabel(time_label)
        title = "Effective sample size, and steps of the solver"
        headline(figure, title, _handles([("steps taken again", INK)]))
    return figure


def draw_innovation(axis: "Axes", times: Points, values: Points, colour: str) -> None:
    """Draw the innovation of every cycle, its running mean, and the healthy range."""
    axis.axhspan(OVER, UNDER, color=HEALTHY, zorder=0)
    axis.axhline(1.0, color=INK, linewidth=1.0)
    look: Any = {"linestyle": "none", "marker": "o", "markersize": 3.5, "alpha": 0.6}
    axis.plot(times, values, color=colour, label="innovation", **look)
    axis.plot(times, running_mean(values), color=MUTED, label="running mean", **mean_look(times))
    axis.set_yscale("log")
    axis.set_ylim(*innovation_limits(values))
    axis.set_ylabel("innovation")
    axis.grid(color=GRID, linewidth=0.8)
    span_times(axis, times)


def innovation_limits(values: Points) -> tuple[float, float]:
    """Return limits of a logarithmic axis that hold the values and the healthy range."""
    known = values[np.isfinite(values) & (values > 0)]
    low, high = (known.min(), known.max()) if known.size else (1.0, 1.0)
    return min(low, OVER) / 1.6, max(high, UNDER) * 1.6


def draw_ess(axis: "Axes", times: Points, values: Points, members: int, colour: str) -> None:
    """Draw the effective sample size, and from where on it is healthy."""
    axis.axhspan(handful(members), members, color=HEALTHY, zorder=0)
    axis.plot(times, values, color=colour, label="ESS", **mean_look(times))
    axis.set_ylim(0, 1.05 * members)
    axis.set_ylabel(f"ESS, of {members}")
    axis.grid(color=GRID, linewidth=0.8)
    span_times(axis, times)


def draw_steps(
    axis: "Axes", times: Points, steps: Points, rejected: Points | None, colour: str
) -> None:
    """Draw the solver's steps, and those that it took again."""
    axis.plot(times, steps, color=colour, label="steps", **mean_look(times))
    top = np.nan_to_num(steps).max()
    if rejected is not None:
        look = {**mean_look(times), "linewidth": 1.0}
        axis.plot(times, rejected, color=INK, label="taken again", **look)
        top = max(top, np.nan_to_num(rejected).max())
    axis.set_ylim(0, 1.1 * max(top, 1.0))
    count_axis(axis)
    axis.set_ylabel("steps")
    axis.grid(color=GRID, linewidth=0.8)
    span_times(axis, times)


def count_axis(axis: "Axes") -> None:
    """Let the vertical axis have whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.yaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))


def running_mean(values: Points) -> Points:
    """Return the mean of the finite values around each cycle, NaN where there is none."""
    half = max(5, len(values) // _WINDOW) // 2
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    here = np.arange(len(values))
    first, last = np.maximum(here - half, 0), np.minimum(here + half + 1, len(values))
    number = counts[last] - counts[first]
    total = sums[last] - sums[first]
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _checked(what: str, series: Series, times: Points) -> dict[str, Points]:
    """Return a line [t] by filter."""
    if not series:
        raise ValueError(f"{what}: expected at least one filter, got none")
    return {name: check_series(f"{what}[{name!r}]", v, times.shape) for name, v in series.items()}


def _handles(lines: list[tuple[str, str]]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], color=colour, label=name) for name, colour in lines]
    return [*handles, Patch(color=HEALTHY, label="healthy")]
