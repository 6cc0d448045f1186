"""The analysis ensembles of one moment, a panel per filter."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .clouds import DASHES, SHADES, density, histogram, panel_limits, scatter
from .style import INK, MUTED, Points, Series, canvas, headline, name_panel, palette, style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure, SubFigure

Clouds = dict[str, Points]


def ensemble_panels(
    ensembles: Series,
    truth: ArrayLike | None = None,
    reference: ArrayLike | None = None,
    *,
    coordinates: tuple[str, ...] = ("state", "second coordinate"),
    title: str = "Analysis ensembles",
    notes: Mapping[str, str] | None = None,
) -> "Figure":
    """Draw the analysis ensembles of one moment beside each other, over the reference posterior.

    One coordinate gives histograms, two give clouds of members over the reference's density (its
    50, 80 and 95 % regions). All panels share their axes, which hold every member but those that
    are farther off than four times the width of the reference: these are diamonds on the border,
    and counted in a corner.

    Args:
        ensembles: Members ``[n]``, ``[n 1]`` or ``[n 2]`` by filter.
        truth: The true coordinate or pair of coordinates, where it is known.
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
    ensembles: Series, truth: ArrayLike | None, reference: ArrayLike | None
) -> tuple[Clouds, Points | None, Points | None]:
    """Return ensembles by filter, truth and reference as arrays ``[n d]`` with d of 1 or 2."""
    if not ensembles:
        raise ValueError("ensembles: expected at least one filter, got none")
    target = None
    if truth is not None:
        target = np.atleast_1d(np.asarray(truth, dtype=np.float64))[None]
        if target.ndim != 2 or target.shape[1] not in (1, 2):
            raise ValueError(f"truth: expected one or two coordinates, got shape {np.shape(truth)}")
    given = "truth" if target is not None else "the first filter"
    first = np.shape(next(iter(ensembles.values())))
    d = (first[1] if len(first) == 2 else 1) if target is None else target.shape[1]
    if d not in (1, 2):
        raise ValueError(f"ensembles: expected one or two coordinates, got shape {first}")

    def cloud(name: str, value: ArrayLike) -> Points:
        array = np.asarray(value, dtype=np.float64)
        points = array[:, None] if array.ndim == 1 else array
        if points.ndim != 2 or points.shape[1] != d or len(points) == 0:
            raise ValueError(f"{name}: expected shape (members, {d}) as {given}, got {array.shape}")
        return points

    clouds = {label: cloud(f"ensembles[{label!r}]", value) for label, value in ensembles.items()}
    return clouds, target, None if reference is None else cloud("reference", reference)


def draw_ensembles(
    figure: "Figure | SubFigure",
    clouds: Clouds,
    truth: Points | None,
    reference: Points | None,
    coordinates: tuple[str, ...],
    title: str,
    notes: Mapping[str, str],
) -> None:
    """Fill a figure or part of one with the panels."""
    d = next(iter(clouds.values())).shape[1]
    if len(coordinates) < d:
        raise ValueError(f"coordinates: expected {d} labels, got {coordinates}")
    trusted = np.concatenate([np.zeros((0, d)), *(x for x in (truth, reference) if x is not None)])
    bounds = [panel_limits(trusted[:, k], [c[:, k] for c in clouds.values()]) for k in range(d)]
    axes = figure.subplots(1, len(clouds), sharex=True, sharey=True, squeeze=False)[0]
    colours = palette(clouds)
    for axis, (label, cloud) in zip(axes, clouds.items(), strict=True):
        (histogram if d == 1 else scatter)(axis, cloud, truth, reference, colours[label], bounds)
        name_panel(axis, label, colours[label], notes, width=110 // len(clouds))
        axis.set_xlabel(coordinates[0])
    axes[0].set_ylabel("density" if d == 1 else coordinates[1])
    if d == 1 and reference is not None:  # a collapsed ensemble must not flatten the others
        peak = density(reference, 50, bounds[0])[0].max()
        axes[0].set_ylim(0, min(axes[0].get_ylim()[1], 2 * peak))
    headline(figure, title, legend_handles(d, truth is not None, reference is not None))


def legend_handles(d: int, with_truth: bool, with_reference: bool) -> list["Artist"]:
    """Legend entries in neutral grey, since they stand for every panel."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dots: Any = {"linestyle": "none", "markeredgecolor": "white"}
    if d == 1:
        members: Artist = Patch(color=MUTED, alpha=0.4, linewidth=0, label="members")
        reference: Artist = Line2D([], [], color=MUTED, linewidth=1.6, label="reference posterior")
        truth = Line2D([], [], color=INK, linewidth=1.6, linestyle=DASHES, label="truth")
    else:
        members = Line2D([], [], marker="o", markersize=7, color=MUTED, label="members", **dots)
        reference = Patch(color=SHADES[1], linewidth=0, label="reference posterior")
        truth = Line2D([], [], marker="*", markersize=13, color=INK, label="truth", **dots)
    return [members, *[reference] * with_reference, *[truth] * with_truth]
