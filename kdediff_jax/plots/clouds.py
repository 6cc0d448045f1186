"""The members of one moment in one panel: a histogram, or points over regions of a density."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .style import INK, MUTED, Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = (0, (2, 1.5))
SHADES = ["#E4E7EB", "#CBD0D7", "#AEB5BF"]
_FAR = 4.0  # of the trusted range, on either side: members beyond go to the border


def panel_limits(trusted: Points, clouds: Iterable[Points]) -> tuple[float, float]:
    """Return axis limits that hold the trusted values, and all members that are not far off.

    Far is four times the trusted range, or the width of the ensemble of median width where that is
    larger: a diverged filter must not flatten all others.

    Args:
        trusted: Values of truth and reference.
        clouds: Values of each ensemble.
    """
    finite = [cloud[np.isfinite(cloud)] for cloud in clouds]
    finite = [cloud for cloud in finite if cloud.size]
    trusted = trusted[np.isfinite(trusted)]
    middles = sorted((np.quantile(c, [0.05, 0.95]) for c in finite), key=lambda m: m[1] - m[0])
    middle = middles[(len(middles) - 1) // 2] if middles else np.zeros(0)
    trusted = trusted if trusted.size else middle
    if not trusted.size:
        return 0.0, 1.0
    low, high = float(trusted.min()), float(trusted.max())
    width = max(high - low, float(np.ptp(middle)) if middle.size else 0.0)
    room = _FAR * (width or 1e-6 * abs(high) or 1.0)
    every = np.concatenate([trusted, *finite])
    near = every[(every >= low - room) & (every <= high + room)]
    low, high = float(near.min()), float(near.max())
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def histogram(
    axis: "Axes",
    members: Points,
    truth: Points | None,
    reference: Points | None,
    colour: str,
    bounds: list[tuple[float, float]],
) -> None:
    """Draw the members of one coordinate as a histogram, over the reference's."""
    bins = int(np.clip(2.5 * np.sqrt(len(members)), 12, 50))
    heights, edges = density(members, bins, bounds[0])
    axis.stairs(heights, edges, fill=True, color=colour, alpha=0.55, label="members")
    if reference is not None:
        heights, edges = density(reference, 50, bounds[0])
        axis.stairs(heights, edges, color=MUTED, linewidth=1.6, label="reference posterior")
    if truth is not None:
        axis.axvline(truth[0, 0], color=INK, linewidth=1.6, linestyle=DASHES, label="truth")
    axis.set_xlim(bounds[0])
    _mark_strays(axis, members, colour, bounds)


def scatter(
    axis: "Axes",
    members: Points,
    truth: Points | None,
    reference: Points | None,
    colour: str,
    bounds: list[tuple[float, float]],
) -> None:
    """Draw the members of two coordinates as points, over the reference's regions."""
    if reference is not None:
        x, y, height = _smooth(reference, bounds)
        axis.contourf(x, y, height, levels=regions(height, (0.95, 0.8, 0.5)), colors=SHADES)
    size = float(np.clip(4000 / len(members), 8, 40))
    look = {"s": size, "alpha": 0.6, "linewidths": 0.4, "edgecolors": "white"}
    axis.scatter(members[:, 0], members[:, 1], color=colour, label="members", **look)
    if truth is not None:
        look = {"s": 170, "marker": "*", "edgecolors": "white", "linewidths": 1.0, "zorder": 4}
        axis.scatter(*truth.T, color=INK, label="truth", **look)
    axis.set(xlim=bounds[0], ylim=bounds[1])
    _mark_strays(axis, members, colour, bounds)


def _mark_strays(
    axis: "Axes", members: Points, colour: str, bounds: list[tuple[float, float]]
) -> None:
    """Put members beyond the axes on their border as diamonds, and count them in a corner."""
    finite = np.isfinite(members).all(axis=1)
    held = [np.clip(x, *limit) for x, limit in zip(members.T, bounds, strict=True)]
    outside = finite & (np.stack(held, axis=1) != members).any(axis=1)
    if outside.any():
        places = [x[outside] for x in held]
        if len(places) == 1:
            places.append(np.zeros(int(outside.sum())))
        look = {"marker": "D", "s": 26, "edgecolors": INK, "linewidths": 0.6, "zorder": 5}
        axis.scatter(*places, color=colour, clip_on=False, label="outside", **look)
    counts = {"outside": outside.sum(), "not finite": (~finite).sum()}
    said = [f"{count} of {len(members)} {what}" for what, count in counts.items() if count]
    if said:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
        where = {"transform": axis.transAxes, "ha": "right", "va": "top", "fontsize": 9}
        axis.text(0.97, 0.97, "\n".join(said), color=MUTED, bbox=box, zorder=6, **where)


def density(points: Points, bins: int, bounds: tuple[float, float]) -> tuple[Points, Points]:
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


def regions(density: Points, masses: tuple[float, ...]) -> list[float]:
    """Density levels of the smallest regions that hold these masses, then the density's top."""
    ordered = np.sort(density, axis=None)[::-1]
    held = np.cumsum(ordered) / ordered.sum()
    levels = [float(ordered[np.searchsorted(held, mass)]) for mass in masses]
    return sorted({*levels, float(ordered[0])})
