"""The ensemble of one cycle: every coordinate's marginal, and every pair's cloud."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .clouds import histogram, panel_limits, scatter
from .posteriors import legend_handles
from .series import check_labels
from .style import BLUE, Points, canvas, headline, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 6


def marginals(
    members: ArrayLike,
    *,
    truth: ArrayLike | None = None,
    reference: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    title: str = "Analysis ensemble",
) -> "Figure":
    """Draw the ensemble of one cycle: histograms on the diagonal, pairs of coordinates below it.

    Two modes that overlap in every coordinate's histogram may lie apart in a pair's cloud.

    Args:
        members: Ensemble ``[n d]`` of one to six coordinates.
        truth: True state ``[d]``, where it is known.
        reference: Large sample of the exact posterior ``[r d]``.
        labels: Names of the coordinates, units included, such as ``StateSpace.labels``.
        title: Headline.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together, or there are more than six coordinates.
        ImportError: If matplotlib is not installed.
    """
    cloud = np.asarray(members, dtype=np.float64)
    if cloud.ndim != 2 or 0 in cloud.shape or cloud.shape[1] > MOST:
        raise ValueError(f"members: expected shape (n, d) with d up to {MOST}, got {cloud.shape}")
    d = cloud.shape[1]
    names = check_labels(labels, d)
    point = None if truth is None else np.atleast_1d(np.asarray(truth, dtype=np.float64))[None]
    if point is not None and point.shape != (1, d):
        raise ValueError(f"truth: expected shape ({d},), got {point.shape[1:]}")
    sample = None if reference is None else np.asarray(reference, dtype=np.float64)
    if sample is not None and (sample.ndim != 2 or sample.shape[1] != d or not len(sample)):
        raise ValueError(f"reference: expected shape (r, {d}), got {sample.shape}")
    with style():
        figure = canvas(4.4 if d == 1 else 2.6 + 1.7 * d)
        _draw(figure, cloud, point, sample, names)
        handles = legend_handles(min(d, 2), point is not None, sample is not None)
        headline(figure, title, handles)
    return figure


def _draw(
    figure: "Figure",
    cloud: Points,
    truth: Points | None,
    reference: Points | None,
    names: list[str],
) -> None:
    """Fill the lower triangle and the diagonal."""
    d = len(names)
    trusted = np.concatenate([np.zeros((0, d)), *(x for x in (truth, reference) if x is not None)])
    bounds = [panel_limits(trusted[:, k], [cloud[:, k]]) for k in range(d)]
    axes = figure.subplots(d, d, squeeze=False, sharex="col")
    for i in range(d):
        for j in range(d):
            axis = axes[i, j]
            if j > i:
                axis.set_visible(False)
                continue
            pair = [j] if i == j else [j, i]
            true, sample = (None if x is None else x[:, pair] for x in (truth, reference))
            draw = histogram if i == j else scatter
            draw(axis, cloud[:, pair], true, sample, BLUE, [bounds[k] for k in pair])
            if i == j:
                axis.set_yticks([])
                axis.set_title(names[i], loc="left", fontweight="bold", pad=4)
            elif j == 0:
                axis.set_ylabel(names[i])
            else:
                axis.tick_params(labelleft=False)
            if i == d - 1:
                axis.set_xlabel(names[j])
