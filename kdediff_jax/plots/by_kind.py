"""One figure of each kind, from a record."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..analysis.outcome import AnalysisInfo
from .calibration import rank_histogram, spread_error
from .field_maps import field_map, hovmoeller
from .health import effort, innovations
from .health_page import diagnostics
from .marginals import marginals
from .posteriors import ensemble_panels
from .record import Grid, Record
from .series import MOST_PANELS, mean_of, quantiles_of, trajectories
from .style import Points
from .trajectories import trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAIR = 2
_GAUSSIAN_90 = 1.6449  # standard deviations on either side of 90 % of a Gaussian


class Choice(NamedTuple):
    """What of a file is drawn: the index of a cycle, if one was asked for, and coordinates."""

    cycle: int | None
    columns: list[int] | None
    field: str | None


def lacking(kind: str, record: Record) -> str | None:
    """Return in words what a figure needs and the record lacks, None where nothing is missing."""
    have = {
        "a mean or ensembles": bool(record.means or record.ensembles),
        "ensembles": bool(record.ensembles),
        "members of a cycle": bool(record.ensembles or record.last),
        "a field of one or two dimensions, or eight coordinates": bool(_drawable(record)),
        "a truth": record.truth is not None,
        "spreads or ensembles": bool(record.spreads),
        "innovations": all("normalised_innovation" in i for i in record.info.values()),
        "effective sample sizes": all({"ess", "num_steps"} <= set(i) for i in record.info.values()),
        "all reports": all(set(AnalysisInfo._fields[:-1]) <= set(i) for i in record.info.values()),
        "an ensemble size": record.members is not None,
    }
    return next((need for need in NEEDS[kind] if not have[need]), None)


def _mean(record: Record, name: str) -> Points:
    """Return the stored mean of a filter, else that of its members."""
    if name in record.means:
        return record.means[name]
    return mean_of(record.ensembles[name])


def _drawable(record: Record) -> list[str]:
    return [name for name, grid in record.fields.items() if len(grid.dims) in (1, 2)]


def _trajectory(record: Record, chosen: Choice) -> "Figure":
    moment = None if chosen.cycle is None else float(record.times[chosen.cycle])
    columns = chosen.columns or list(range(min(record.size, 1 if len(record.filters) > 1 else 6)))
    if len(record.filters) == 1:
        return _several(record, columns[:MOST_PANELS], moment)
    if len(columns) > 1:
        raise ValueError(
            f"filter: expected one of {', '.join(record.filters)}, since several variables are "
            "drawn for one filter; or give one variable"
        )
    k, lower, upper = columns[0], {}, {}
    for name in record.filters:
        lower[name], upper[name] = _band(record, name, k)
    known = _known(record, [k])
    own: Any = {key: None if v is None else v[:, 0] for key, v in known.items()}
    means = {name: _mean(record, name)[:, k] for name in record.filters}
    return trajectory(
        record.times, own["truth"], means, lower, upper, coordinate=record.label(k),
        notes=record.scores, moment=moment, measurements=own["measurements"],
        band="5–95 % of the members" if record.ensembles else "± 1.64 spreads",
    )  # fmt: skip


def _band(record: Record, name: str, k: int) -> tuple[Points, Points]:
    """Return the edges of the band of a coordinate: quantiles, else those of a Gaussian."""
    if record.ensembles:
        low, high = quantiles_of(record.ensembles[name][:, :, [k]], (0.05, 0.95))[..., 0]
        return low, high
    mean = record.means[name][:, k]
    width = record.spreads[name][:, k] if record.spreads else np.zeros_like(mean)
    return mean - _GAUSSIAN_90 * width, mean + _GAUSSIAN_90 * width


def _known(record: Record, columns: list[int]) -> dict[str, Any]:
    """Return truth and measurements of these coordinates, None where there are none."""
    known = {"truth": record.truth, "measurements": record.measurements}
    own = {key: None if v is None else v[:, columns] for key, v in known.items()}
    return {k: v if v is not None and np.isfinite(v).any() else None for k, v in own.items()}


def _several(record: Record, columns: list[int], moment: float | None) -> "Figure":
    (name,) = record.filters
    ensemble = record.ensembles[name][:, :, columns] if record.ensembles else None
    spread = record.spreads[name][:, columns] if record.spreads else None
    return trajectories(
        record.times,
        ensemble,
        mean=_mean(record, name)[:, columns],
        spread=spread,
        labels=[record.label(k) for k in columns],
        title=_titled(record),
        moment=moment,
        **_known(record, columns),
    )


def _ensemble(record: Record, chosen: Choice) -> "Figure":
    i, columns = _moment(record, chosen), chosen.columns or list(range(min(record.size, _PAIR)))
    if len(columns) > _PAIR:
        raise ValueError(f"variable: expected one or two for an ensemble, got {len(columns)}")
    return ensemble_panels(
        {name: record.moment(name, i)[:, columns] for name in record.filters},
        None if record.truth is None else record.truth[i, columns],
        None if record.reference is None else record.reference[i][:, columns],
        coordinates=tuple(record.label(k) for k in columns),
        title=f"{record.title}: analysis ensembles, {_when(record, i)}",
        notes=record.scores,
    )


def _marginals(record: Record, chosen: Choice) -> "Figure":
    i, columns = _moment(record, chosen), chosen.columns or list(range(min(record.size, 4)))
    name = record.filters[0]
    return marginals(
        record.moment(name, i)[:, columns],
        truth=None if record.truth is None else record.truth[i, columns],
        reference=None if record.reference is None else record.reference[i][:, columns],
        labels=[record.label(k) for k in columns],
        title=f"{_titled(record)}, {_when(record, i)}",
    )


def _map(record: Record, chosen: Choice) -> "Figure":
    name, field = record.filters[0], chosen.field or _drawable(record)[0]
    grid, label = record.fields[field], record.field_label(field)
    if len(grid.dims) not in (1, 2):
        raise ValueError(f"variable: expected a field of one or two dimensions, got {label}")
    parts = {"spread": record.spreads.get(name), "truth": record.truth}
    where = list(grid.columns)
    own: Any = {k: None if v is None else v[:, where] for k, v in parts.items()}
    mean = _mean(record, name)[:, where]
    seen = None if record.measurements is None else np.isfinite(record.measurements[:, where])
    if len(grid.dims) == 1:
        dim, places = grid.dims[0]
        return hovmoeller(
            record.times,
            places,
            mean,
            label=label,
            position_label=dim,
            title=_titled(record),
            measured=None if seen is None else places[seen.any(axis=0)],
            **own,
        )
    i = _moment(record, chosen)
    (y_name, y), (x_name, x) = grid.dims
    at = {k: None if v is None else v[i].reshape(grid.shape) for k, v in own.items()}
    return field_map(
        x, y, mean[i].reshape(grid.shape), label=label, x_label=x_name, y_label=y_name,
        title=f"{_titled(record)}, {_when(record, i)}",
        measured=None if seen is None else _places(grid, seen[i]), **at,
    )  # fmt: skip


def _places(grid: Grid, seen: np.ndarray) -> Points:
    """Return the pairs (x, y) of the elements that are measured."""
    (_, y), (_, x) = grid.dims
    rows, columns = np.nonzero(seen.reshape(grid.shape))
    return np.stack([x[columns], y[rows]], axis=1)


def _rank(record: Record, chosen: Choice) -> "Figure":
    columns, label = _compared(record, chosen)
    assert record.truth is not None
    members = {name: e[:, :, columns] for name, e in record.ensembles.items()}
    return rank_histogram(members, record.truth[:, columns], label=label)


def _spread(record: Record, chosen: Choice) -> "Figure":
    columns, label = _compared(record, chosen)
    assert record.truth is not None
    errors = {n: _mean(record, n)[:, columns] - record.truth[:, columns] for n in record.spreads}
    spreads = {name: s[:, columns] for name, s in record.spreads.items()}
    return spread_error(spreads, errors, label=label)


def _innovation(record: Record, chosen: Choice) -> "Figure":
    return innovations(record.times, _reports(record, "normalised_innovation"))


def _effort(record: Record, chosen: Choice) -> "Figure":
    assert record.members is not None
    rejected = _reports(record, "num_rejected")
    sizes, steps = _reports(record, "ess"), _reports(record, "num_steps")
    return effort(record.times, sizes, steps, record.members, rejected=rejected or None)


def _diagnostics(record: Record, chosen: Choice) -> "Figure":
    name = record.filters[0]
    assert record.members is not None
    mean = _mean(record, name)
    info: Any = AnalysisInfo(**record.info[name], mean=mean)  # pyright: ignore[reportArgumentType]
    error = None if record.truth is None else mean - record.truth
    return diagnostics(
        info, record.members, spread=record.spreads.get(name), error=error,
        title=f"{_titled(record)}: diagnostics", time_label="cycle, counted from 0",
    )  # fmt: skip


def _compared(record: Record, chosen: Choice) -> tuple[list[int], str]:
    if chosen.columns is None:
        return list(range(record.size)), "all coordinates"
    labels = [record.label(k) for k in chosen.columns]
    return chosen.columns, chosen.field or ", ".join(labels)


def _reports(record: Record, field: str) -> dict[str, np.ndarray]:
    return {name: info[field] for name, info in record.info.items() if field in info}


def _moment(record: Record, chosen: Choice) -> int:
    return len(record.cycles) - 1 if chosen.cycle is None else chosen.cycle


def _when(record: Record, i: int) -> str:
    return f"cycle {record.cycles[i]}, model time {record.times[i]:g}"


def _titled(record: Record) -> str:
    name = record.filters[0]
    return record.title if name == "filter" else f"{record.title}, {name}"


DRAWN: Mapping[str, Callable[[Record, Choice], "Figure"]] = {
    "trajectory": _trajectory,
    "ensemble": _ensemble,
    "marginals": _marginals,
    "map": _map,
    "rank": _rank,
    "spread": _spread,
    "innovation": _innovation,
    "effort": _effort,
    "diagnostics": _diagnostics,
}
NEEDS: Mapping[str, tuple[str, ...]] = {
    "trajectory": ("a mean or ensembles",),
    "ensemble": ("members of a cycle",),
    "marginals": ("members of a cycle",),
    "map": ("a field of one or two dimensions, or eight coordinates", "a mean or ensembles"),
    "rank": ("ensembles", "a truth"),
    "spread": ("spreads or ensembles", "a truth"),
    "innovation": ("innovations",),
    "effort": ("effective sample sizes", "an ensemble size"),
    "diagnostics": ("all reports", "an ensemble size", "a mean or ensembles"),
}
