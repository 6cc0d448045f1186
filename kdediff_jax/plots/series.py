"""Several coordinates of one filter over time, with bands of quantiles."""

import warnings
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .clouds import panel_limits
from .style import BLUE, GRID, MUTED, Points, canvas, headline, style
from .trajectories import (
    Lines,
    band_handles,
    check_times,
    draw_known,
    known_handles,
    mean_look,
    span_times,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PANELS = 12
Band = tuple[str, Points, Points]  # label, lower and upper edge [t d]


def trajectories(
    times: ArrayLike,
    ensemble: ArrayLike | None = None,
    *,
    mean: ArrayLike | None = None,
    spread: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    measurements: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    quantiles: Sequence[float] = (0.05, 0.25),
    title: str = "Ensemble mean and quantiles",
    time_label: str = "model time",
    moment: float | None = None,
) -> "Figure":
    """Draw coordinates of one filter over time: a panel each, with mean and bands of quantiles.

    Without members the bands are those of a Gaussian of that mean and spread. Truth and
    measurements are drawn where they are given.

    Args:
        times: Model time of the cycles ``[t]``.
        ensemble: Members ``[t n d]``, such as of `save_ensembles`; those that are NaN do not count.
        mean: Ensemble mean ``[t d]``; of the members where not given.
        spread: Standard deviation ``[t d]``, in place of members.
        truth: True state ``[t d]``.
        measurements: Measurements of the coordinates themselves ``[t d]``, NaN where there is none.
        labels: Names of the coordinates, units included, such as ``StateSpace.labels``.
        quantiles: Lower ends of the bands, widest first, each above 0 and below 0.5.
        title: Headline.
        time_label: Label of the time axis.
        moment: Time to be marked by a vertical line.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        ValueError: If shapes do not go together, there is neither an ensemble nor a mean, or there
            are more than 12 coordinates.
        ImportError: If matplotlib is not installed.
    """
    times = check_times(times)
    centre, bands = _bands(times, ensemble, mean, spread, quantiles)
    names = check_labels(labels, centre.shape[1])
    lines = {"truth": truth, "measurement": measurements}
    known = {k: check_series(k, v, centre.shape) for k, v in lines.items() if v is not None}
    if centre.shape[1] > MOST_PANELS:
        raise ValueError(f"labels: expected at most {MOST_PANELS}, got {len(names)}")
    with style():
        figure = canvas(1.2 + 1.5 * len(names))
        _draw(figure, times, centre, bands, known, names, moment)
        figure.axes[-1].set_xlabel(time_label)
        opacities = {label: 0.35 for label, _, _ in bands[-1:]}
        opacities = {label: 0.18 for label, _, _ in bands[:-1]} | opacities
        handles = [*known_handles(known), *band_handles(opacities)]
        headline(figure, title, handles)
    return figure


def quantiles_of(ensemble: Points, probabilities: Sequence[float]) -> Points:
    """Return quantiles over the members [q t d], NaN where no member is left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of cycles without a member
        finite = np.where(np.isfinite(ensemble), ensemble, np.nan)
        return np.nanquantile(finite, list(probabilities), axis=1)


def mean_of(ensemble: Points) -> Points:
    """Return the mean over the members [t d], NaN where no member is left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(np.where(np.isfinite(ensemble), ensemble, np.nan), axis=1)


def check_labels(labels: Sequence[str] | None, size: int) -> list[str]:
    """Return a name for every coordinate."""
    names = [f"coordinate {k}" for k in range(size)] if labels is None else list(labels)
    if len(names) != size:
        raise ValueError(f"labels: expected {size}, one a coordinate, got {len(names)}")
    return names


def check_series(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Points:
    """Return an array of a shape."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array


def _bands(
    times: Points,
    ensemble: ArrayLike | None,
    mean: ArrayLike | None,
    spread: ArrayLike | None,
    quantiles: Sequence[float],
) -> tuple[Points, list[Band]]:
    """Return the means [t d], and the bands, widest first."""
    if not quantiles or not all(0 < q < 0.5 for q in quantiles):
        raise ValueError(f"quantiles: expected numbers above 0 and below 0.5, got {quantiles}")
    if ensemble is not None:
        members = np.asarray(ensemble, dtype=np.float64)
        if members.ndim != 3 or len(members) != times.size or 0 in members.shape:
            raise ValueError(f"ensemble: expected ({times.size}, n, d), got {members.shape}")
        shape = (members.shape[0], members.shape[2])
        centre = mean_of(members) if mean is None else check_series("mean", mean, shape)
        edges = [(q, *quantiles_of(members, (q, 1 - q))) for q in quantiles]
        return centre, [
            (f"{100 * q:g}–{100 * (1 - q):g} % of the members", a, b) for q, a, b in edges
        ]
    if mean is None:
        raise ValueError("ensemble: expected members, or a mean, got neither")
    centre = np.asarray(mean, dtype=np.float64)
    if centre.ndim != 2 or len(centre) != times.size or 0 in centre.shape:
        raise ValueError(f"mean: expected ({times.size}, d), got {centre.shape}")
    if spread is None:
        return centre, []
    width = check_series("spread", spread, centre.shape)
    factors = [-NormalDist().inv_cdf(q) for q in quantiles]
    return centre, [(f"± {z:.2f} spreads", centre - z * width, centre + z * width) for z in factors]


def _draw(
    figure: "Figure",
    times: Points,
    centre: Points,
    bands: list[Band],
    known: Lines,
    names: list[str],
    moment: float | None,
) -> None:
    """Fill the figure with a panel for every coordinate."""
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for k, (axis, name) in enumerate(zip(axes, names, strict=True)):
        for i, (label, low, high) in enumerate(bands):
            alpha = 0.35 if i == len(bands) - 1 else 0.18
            axis.fill_between(
                times, low[:, k], high[:, k], color=BLUE, alpha=alpha, linewidth=0, label=label
            )
        own = {line: values[:, k] for line, values in known.items()}
        draw_known(axis, times, own)
        axis.plot(times, centre[:, k], color=BLUE, label="mean", **mean_look(times))
        if moment is not None:
            axis.axvline(moment, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        axis.set_title(name, loc="left", fontweight="bold", pad=4)
        axis.grid(color=GRID, linewidth=0.8)
        span_times(axis, times)
        edges = [edge[:, k] for _, low, high in bands for edge in (low, high)]
        trusted = np.concatenate([np.zeros(0), *own.values()])
        axis.set_ylim(panel_limits(trusted, [np.concatenate([centre[:, k], *edges])]))
