"""Trajectories and ensembles in one figure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from .posteriors import check_clouds, draw_ensembles
from .style import Series, canvas, same_filters, style
from .trajectories import check_bands, draw_trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overview(
    times: ArrayLike,
    truth: ArrayLike | None,
    means: Series,
    lower: Series,
    upper: Series,
    ensembles: Series,
    moment_truth: ArrayLike | None = None,
    *,
    title: str,
    reference: ArrayLike | None = None,
    scores: Mapping[str, float] | None = None,
    score_name: str = "score",
    moment: float | None = None,
    coordinate: str = "state",
    coordinates: tuple[str, ...] | None = None,
    time_label: str = "model time",
    measurements: ArrayLike | None = None,
) -> "Figure":
    """Draw a comparison in one picture: trajectories above, ensembles at one moment below.

    Args:
        times: This and the next four as for `trajectory`.
        truth: True coordinate, None where it is not known.
        means: Ensemble means.
        lower: 5 % quantiles.
        upper: 95 % quantiles.
        ensembles: As for `ensemble_panels`, of the same filters.
        moment_truth: The truth at that moment, where it is known.
        title: Headline.
        reference: Large sample of the exact posterior at that moment.
        scores: One number per filter, printed after its name.
        score_name: What that number is.
        moment: Time of the ensembles, marked in the trajectories.
        coordinate: Label of the trajectory's coordinate.
        coordinates: Labels of the ensembles' coordinates; ``coordinate`` first if not given.
        time_label: Label of the time axis.
        measurements: As for `trajectory`.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together or the mappings do not name the same filters.
        ImportError: If matplotlib is not installed.
    """
    series = check_bands(times, truth, means, lower, upper, measurements)
    clouds = check_clouds(ensembles, moment_truth, reference)
    for name, mapping in (("ensembles", ensembles), ("scores", scores)):
        same_filters(name, mapping or means, "means", means)
    notes = {label: f"{score_name} {value:.3g}" for label, value in (scores or {}).items()}
    when = "" if moment is None else f" at {time_label} {moment:g}"
    with style():
        height = 0.9 + 1.4 * len(means)
        figure = canvas(height + 4.3)
        figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")
        parts: Any = figure.subfigures(2, 1, height_ratios=[height, 3.9], hspace=0.03)
        above, below = parts
        draw_trajectory(above, *series, (time_label, coordinate), notes, moment)
        labels = coordinates or (coordinate, "second coordinate")
        draw_ensembles(below, *clouds, labels, f"Analysis ensembles{when}", {})
    return figure
