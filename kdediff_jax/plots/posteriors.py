"""The analysis ensembles of one moment, a panel per filter."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .style import INK, MUTED, Points, Series, canvas, limits, name_panel, palette, style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Clouds = dict[str, Points]

_DASHES = (0, (2, 1.5))
_SHADES = ["#E4E7EB", "#CBD0D7", "#AEB5BF"]


def ensemble_panels(
    ensembles: Series,
    truth: ArrayLike,
    reference: ArrayLike | None = None,
    *,
    coordinates: tuple[str, ...] = ("state", "second coordinate"),
    title: str = "Analysis ensembles",
    notes: Mapping[str, str] | None = None,
) -> "Figure":
    """Draw the analysis ensembles of one moment beside each other, over the reference posterior.

    One coordinate gives histograms, two give clouds of members over the reference's density (its
    50, 80 and 95 % regions). All panels share their axes, fitted to reference and truth; members
    beyond them are counted in a corner.

    Args:
        ensembles: Members ``[n]``, ``[n 1]`` or ``[n 2]`` by filter.
        truth: The true coordinate or pair of coordinates.
        reference: Large sample of the exact posterior, ``[r]``, ``[r 1]`` or ``[r 2]``.
        coordinates: Labels of the coordinates, units included.
        title: Headline.
        notes: Short text by filter, such as its score, put after its name.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If the numbers of coordinates differ or are not one or two.
        ImportError: If matplotlib is not installed.
    """
    clouds = check_clouds(ensembles, truth, reference)
    with style():
        figure = canvas(4.4)
        draw_ensembles(figure, *clouds, coordinates, title, notes or {})
    return figure


def check_clouds(
    ensembles: Series, truth: ArrayLike, reference: ArrayLike | None
) -> tuple[Clouds, Points, Points | None]:
    """Return ensembles by filter, truth and reference as arrays ``[n d]`` with d of 1 or 2."""
    target = np.atleast_1d(np.asarray(truth, dtype=np.float64))[None]
    if target.ndim != 2 or target.shape[1] not in (1, 2):
        raise ValueError(f"truth: expected one or two coordinates, got shape {np.shape(truth)}")
    if not ensembles:
        raise ValueError("ensembles: expected at least one filter, got none")
    d = target.shape[1]

    def cloud(name: str, value: ArrayLike) -> Points:
        array = np.asarray(value, dtype=np.float64)
        points = array[:, None] if array.ndim == 1 else array
        if points.ndim != 2 or points.shape[1] != d or len(points) == 0:
            raise ValueError(f"{name}: expected shape (members, {d}) as truth, got {array.shape}")
        return points

    clouds = {label: cloud(f"ensembles[{label!r}]", value) for label, value in ensembles.items()}
    return clouds, target, None if reference is None else cloud("reference", reference)


def draw_ensembles(
    figure: "Figure | SubFigure",
    clouds: Clouds,
    truth: Points,
    reference: Points | None,
    coordinates: tuple[str, ...],
    title: str,
    notes: Mapping[str, str],
) -> None:
    """Fill a figure or part of one with the panels."""
    d = truth.shape[1]
    if len(coordinates) < d:
        raise ValueError(f"coordinates: expected {d} labels, got {coordinates}")
    trusted = truth if reference is None else np.concatenate([truth, reference])
    everyone = np.concatenate(list(clouds.values()))
    bounds = [limits(trusted[:, k], everyone[:, k]) for k in range(d)]
    axes = figure.subplots(1, len(clouds), sharex=True, sharey=True, squeeze=False)[0]
    colours = palette(clouds)
    for axis, (label, cloud) in zip(axes, clouds.items(), strict=True):
        (_histogram if d == 1 else _scatter)(axis, cloud, truth, reference, colours[label], bounds)
        outside = ~np.all(
            [(lo <= x) & (x <= hi) for x, (lo, hi) in zip(cloud.T, bounds, strict=True)], axis=0
        )
        if outside.any():
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
            where = {"transform": axis.transAxes, "ha": "right", "va": "top", "fontsize": 9}
            text = f"{outside.sum()} of {len(cloud)} outside"
            axis.text(0.99, 0.98, text, color=MUTED, bbox=box, zorder=5, **where)
        name_panel(axis, label, colours[label], notes, width=110 // len(clouds))
        axis.set_xlabel(coordinates[0])
    axes[0].set_ylabel("density" if d == 1 else coordinates[1])
    if d == 1 and reference is not None:  # a collapsed ensemble must not flatten the others
        peak = _density(reference, 50, bounds[0])[0].max()
        axes[0].set_ylim(0, min(axes[0].get_ylim()[1], 2 * peak))
    # The headline's line is reserved by the layout; the legend shares it.
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    handles = _legend_handles(d, reference is not None)
    legend = figure.legend(handles=handles, loc="upper right", ncols=3, borderaxespad=0.2)
    legend.set_in_layout(False)


def _legend_handles(d: int, with_reference: bool) -> list["Artist"]:
    """Legend entries in neutral grey, since they stand for every panel."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dots: Any = {"linestyle": "none", "markeredgecolor": "white"}
    if d == 1:
        members: Artist = Patch(color=MUTED, alpha=0.4, linewidth=0, label="members")
        reference: Artist = Line2D([], [], color=MUTED, linewidth=1.6, label="reference posterior")
        truth = Line2D([], [], color=INK, linewidth=1.6, linestyle=_DASHES, label="truth")
    else:
        members = Line2D([], [], marker="o", markersize=7, color=MUTED, label="members", **dots)
        reference = Patch(color=_SHADES[1], linewidth=0, label="reference posterior")
        truth = Line2D([], [], marker="*", markersize=13, color=INK, label="truth", **dots)
    return [members, reference, truth] if with_reference else [members, truth]


def _histogram(
    axis: "Axes",
    members: Points,
    truth: Points,
    reference: Points | None,
    colour: str,
    bounds: list[tuple[float, float]],
) -> None:
    bins = int(np.clip(2.5 * np.sqrt(len(members)), 12, 50))
    heights, edges = _density(members, bins, bounds[0])
    axis.stairs(heights, edges, fill=True, color=colour, alpha=0.55, label="members")
    if reference is not None:
        heights, edges = _density(reference, 50, bounds[0])
        axis.stairs(heights, edges, color=MUTED, linewidth=1.6, label="reference posterior")
    axis.axvline(truth[0, 0], color=INK, linewidth=1.6, linestyle=_DASHES, label="truth")
    axis.set_xlim(bounds[0])


def _scatter(
    axis: "Axes",
    members: Points,
    truth: Points,
    reference: Points | None,
    colour: str,
    bounds: list[tuple[float, float]],
) -> None:
    if reference is not None:
        x, y, density = _smooth(reference, bounds)
        axis.contourf(x, y, density, levels=_regions(density, (0.95, 0.8, 0.5)), colors=_SHADES)
    size = float(np.clip(4000 / len(members), 8, 40))
    look = {"s": size, "alpha": 0.6, "linewidths": 0.4, "edgecolors": "white"}
    axis.scatter(members[:, 0], members[:, 1], color=colour, label="members", **look)
    look = {"s": 170, "marker": "*", "edgecolors": "white", "linewidths": 1.0, "zorder": 4}
    axis.scatter(*truth.T, color=INK, label="truth", **look)
    axis.set(xlim=bounds[0], ylim=bounds[1])


def _density(points: Points, bins: int, bounds: tuple[float, float]) -> tuple[Points, Points]:
    """Histogram heights and edges; what lies outside the bounds counts in the normalisation."""
    finite = points[np.isfinite(points)]
    counts, edges = np.histogram(finite, bins=bins, range=bounds)
    return counts / (len(points) * (edges[1] - edges[0])), edges


def _smooth(points: Points, bounds: list[tuple[float, float]]) -> tuple[Points, Points, Points]:
    """Kernel density on a grid, by a bandwidth that keeps peaks apart and their width.

    Silverman's rule (times 0.7) on the scale of the densest quarter: the standard deviation of a
    sample with two peaks is their distance.
    """
    points = points[np.isfinite(points).all(axis=1)]
    kernels, grids = [], []
    for x, (low, high) in zip(points.T, bounds, strict=True):
        grid = np.linspace(low, high, 100)
        ordered, quarter = np.sort(x), len(x) // 4
        scale = float(np.min(ordered[quarter:] - ordered[: len(x) - quarter])) / 0.637
        width = max(0.7 * scale * len(x) ** (-1 / 6), (high - low) / 150)
        kernels.append(np.exp(-0.5 * ((grid[:, None] - x) / width) ** 2))
        grids.append(grid)
    return grids[0], grids[1], kernels[1] @ kernels[0].T


def _regions(density: Points, masses: tuple[float, ...]) -> list[float]:
    """Density levels of the smallest regions that hold these masses, then the density's top."""
    ordered = np.sort(density, axis=None)[::-1]
    held = np.cumsum(ordered) / ordered.sum()
    levels = [float(ordered[np.searchsorted(held, mass)]) for mass in masses]
    return sorted({*levels, float(ordered[0])})
