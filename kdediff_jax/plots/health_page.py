"""One page that says whether a run is sound."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._words import counted
from ..analysis.outcome import AnalysisInfo
from ..diagnosis import Diagnosis, diagnose
from .health import count_axis, draw_ess, draw_innovation, draw_steps
from .series import check_series, check_times
from .style import BLUE, GRID, HEALTHY, INK, MUTED, RED, Points, canvas, headline, style
from .trajectories import mean_look, span_times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_WIDTH = 150  # characters of a line of the findings


def diagnostics(
    info: AnalysisInfo,
    members: int,
    *,
    times: ArrayLike | None = None,
    spread: ArrayLike | None = None,
    error: ArrayLike | None = None,
    title: str = "Diagnostics",
    time_label: str = "cycle",
) -> "Figure":
    """Draw one page with all that a run reports of its health, and what `diagnose` finds in it.

    Healthy ranges are green, failed cycles have red lines. A healthy run can still be wrong
    where nothing is measured; with a truth at hand, its error is drawn beside the spread.

    Args:
        info: Report of one run, ``result.info``.
        members: Ensemble size N.
        times: Model time of the cycles ``[t]``; their numbers from 0, as in the findings, if not
            given.
        spread: Standard deviation of the members ``[t d]``; drawn as its root mean square.
        error: Mean minus truth ``[t d]``, likewise.
        title: Headline.
        time_label: Label of the time axis.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together, or the report is that of a batch of runs.
        ImportError: If matplotlib is not installed.
    """
    ok = np.asarray(info.ok).astype(bool)
    if ok.ndim != 1 or not ok.size:
        raise ValueError(f"info: expected the report of one run, (cycles,), got {ok.shape}")
    when = check_times(np.arange(ok.size) if times is None else times)
    own = AnalysisInfo(*(np.asarray(field) for field in info))  # pyright: ignore[reportArgumentType]
    for name in own._fields[:-1]:
        check_series(f"info.{name}", getattr(own, name), when.shape)
    shape = np.shape(own.mean)
    if len(shape) != 2 or shape[0] != ok.size:
        raise ValueError(f"info.mean: expected shape ({ok.size}, d), got {shape}")
    sizes = {"spread": spread, "error": error}
    arrays = {name: check_series(name, v, shape) for name, v in sizes.items() if v is not None}
    lines = {name: np.sqrt(np.mean(array**2, axis=1)) for name, array in arrays.items()}
    found = diagnose(own, members, None if spread is None else np.asarray(spread))
    words = _words(found)
    with style():
        figure = canvas(8.6 + 0.19 * len(words))
        parts: Any = figure.subfigures(2, 1, height_ratios=[8.0, 0.6 + 0.19 * len(words)])
        handles = _panels(parts[0], when, own, members, lines, time_label)
        headline(figure, title, handles, size=13)
        verdict = (
            "Healthy: nothing was found" if found.healthy else "Found: " + ", ".join(found.kinds)
        )
        colour = "#00704F" if found.healthy else RED
        place: Any = {"x": 0.012, "va": "top", "ha": "left"}
        parts[1].text(y=0.97, s=verdict, color=colour, weight="bold", fontsize=11.5, **place)
        below = 1 - 0.36 / (0.6 + 0.19 * len(words))
        parts[1].text(y=below, s="\n".join(words), fontsize=9.5, color=INK, **place)
    return figure


def _words(found: Diagnosis) -> list[str]:
    """Return the findings as lines of the page, behind a line with the figures of every run."""
    figures = found.summary.partition("(")[2].rstrip(")")
    lines = textwrap.wrap(f"{counted(found.cycles, 'cycle')}: {figures}", _WIDTH)
    for each in found.findings:
        lines += textwrap.wrap(f"{each.kind}: {each.what}", _WIDTH, subsequent_indent="    ")
        lines += textwrap.wrap(f"try: {each.advice}", _WIDTH, initial_indent="    ",
                               subsequent_indent="    ")  # fmt: skip
    return lines


def _panels(
    part: "Figure | SubFigure",
    times: Points,
    info: Any,
    members: int,
    lines: dict[str, Points],
    time_label: str,
) -> list[Any]:
    """Fill the part of the page with the panels; return what the legend has to explain."""
    axes: Any = part.subplots(3, 2, sharex=True)
    innovation = np.asarray(info.normalised_innovation, dtype=np.float64)
    draw_innovation(axes[0, 0], times, innovation, BLUE)
    draw_ess(axes[0, 1], times, info.ess.astype(np.float64), members, BLUE)
    draw_steps(axes[1, 1], times, info.num_steps, info.num_rejected, BLUE)
    _counts(axes[2, 0], times, info.num_masked, "members")
    _counts(axes[2, 1], times, info.num_gross_errors, "components")
    _sizes(axes[1, 0], times, lines)
    titles = (
        "Normalised innovation: 1 on average",
        "Effective sample size: not a handful",
        "Spread of the members" + " and error of the mean" * ("error" in lines),
        "Steps of the solver; thin: taken again",
        "Members left out: none",
        "Measured components left out as gross errors: none",
    )
    for axis, text in zip(axes.flat, titles, strict=True):
        axis.set_title(text, loc="left", fontweight="bold", pad=4)
        for failed in times[~info.ok.astype(bool)]:
            axis.axvline(failed, color=RED, linewidth=1.0, alpha=0.6, label="failed cycle")
    for axis in axes[-1]:
        axis.set_xlabel(time_label)
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: Any = [Patch(color=HEALTHY, label="healthy")]
    handles += [Line2D([], [], color=RED, label="failed cycle")] * bool(
        (~info.ok.astype(bool)).any()
    )
    handles += [Line2D([], [], color=MUTED, label="running mean")]
    return handles


def _counts(axis: "Axes", times: Points, counts: Points, what: str) -> None:
    """Draw how many were left out; none is healthy."""
    top = 1.1 * max(float(counts.max()), 1.0)
    axis.axhspan(-0.06 * top, 0.06 * top, color=HEALTHY, zorder=0)
    axis.plot(times, counts, color=BLUE, label=what, **mean_look(times))
    axis.set_ylim(-0.06 * top, top)
    count_axis(axis)
    axis.set_ylabel(what)
    axis.grid(color=GRID, linewidth=0.8)
    span_times(axis, times)


def _sizes(axis: "Axes", times: Points, lines: dict[str, Points]) -> None:
    """Draw spread and error, those of them that there are."""
    for name, colour in (("error", INK), ("spread", BLUE)):
        if name in lines:
            axis.plot(times, lines[name], color=colour, label=name, **mean_look(times))
    if lines:
        axis.legend(loc="upper right", ncols=2)
    else:
        where: Any = {"transform": axis.transAxes, "ha": "center", "va": "center"}
        axis.text(0.5, 0.5, "not stored in this run", color=MUTED, **where)
    axis.set_ylim(0, 1.25 * axis.get_ylim()[1])  # the legend has a line of its own
    axis.set_ylabel("root mean square")
    axis.grid(color=GRID, linewidth=0.8)
    span_times(axis, times)
