"""A result's data set as a record: what its variables are, by their names and dimensions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.outcome import AnalysisInfo
from .record import Grid, Record
from .style import Points

if TYPE_CHECKING:
    import xarray as xr

TIMES = ("cycle", "time")
ENSEMBLES = ("analysis", "ensemble", "ensembles", "saved", "members")
LAST = "ensemble"  # without an axis of cycles: the members of the last one
PARTS = ("mean", "spread", "truth", "measurement", *ENSEMBLES)
FEW = 8  # coordinates without names of fields, from which on they are drawn as a field


def is_sweep(ds: "xr.Dataset") -> bool:
    """Say whether a data set holds the scores of a sweep, and no run."""
    if any(dim in ds.sizes for dim in TIMES):
        return False
    fields = any(name.rpartition("_")[2] in PARTS or v.attrs for name, v in _named(ds))
    return "seed" in ds.sizes or "selected_by" in ds.attrs or not fields


def read_run(ds: "xr.Dataset", title: str) -> Record:
    """Return what figures need of a data set of this package.

    Raises:
        ValueError: it has no axis of cycles, and nothing of a state.
    """
    if "run" in ds.sizes and "filter" not in ds.sizes:  # a batch
        names = np.array([f"run {k}" for k in range(ds.sizes["run"])], dtype=object)
        ds = ds.drop_vars("run", errors="ignore").rename(run="filter").assign_coords(filter=names)
    time = next((dim for dim in TIMES if dim in ds.sizes), None)
    total = ds.sizes[time] if time else 1
    where = next((ds[c].values for c in ("time", time) if c in ds.coords), np.arange(total))
    cycles = ds["cycle"].values if "cycle" in ds.coords else np.arange(1, total + 1)
    whole = ds if time else ds.expand_dims("time")
    filters = tuple(map(str, ds["filter"].values)) if "filter" in ds.coords else ("filter",)
    empty: Any = {p: {} for p in ("ensembles", "last", "means", "spreads", "fields")}
    found = _of_vectors(whole, filters) if "coordinate" in ds.sizes else _of_fields(whole, filters)
    times = np.atleast_1d(np.asarray(where, dtype=np.float64))
    record = Record(
        title=title, cycles=np.atleast_1d(cycles), times=times, filters=filters,
        info=_of_info(whole, filters), scores=_of_scores(ds, filters), members=_members(ds),
        **{**empty, "names": (), "truth": None, "measurements": None, "reference": None, **found},
    )  # fmt: skip
    if not (record.size or any(record.info.values())):
        raise ValueError("expected means, ensembles or reports of a run, found none of them")
    return record


def _of_vectors(ds: "xr.Dataset", filters: Sequence[str]) -> dict[str, Any]:
    """Return the states of a run whose coordinates are one dimension."""
    found: dict[str, Any] = {}
    axes = ("member", "coordinate")
    timed = [name for name in ENSEMBLES if name in ds and set(ds[name].dims) & set(TIMES)]
    if timed:
        found["ensembles"] = dict(_by_filter(ds[timed[0]], filters, axes))
    elif LAST in ds:
        found["last"] = dict(_by_filter(ds[LAST], filters, axes))
    for part, name in (("means", "mean"), ("spreads", "spread")):
        if name in ds and "coordinate" in ds[name].dims:  # else a score of that name
            found[part] = dict(_by_filter(ds[name], filters, ("coordinate",)))
    found.setdefault("spreads", {k: _spread(v) for k, v in found.get("ensembles", {}).items()})
    if "truth" in ds:
        found["truth"] = _array(ds["truth"])
    if "reference" in ds:
        found["reference"] = _array(ds["reference"])
    if "coordinate" in ds.coords:
        found["names"] = tuple(map(str, ds["coordinate"].values))
    size = ds.sizes["coordinate"]
    if {"measurement", "measured_coordinate"} <= set(ds.variables):
        values, places = _array(ds["measurement"]), ds["measured_coordinate"].values.astype(int)
        line = np.full((len(values), size), np.nan)
        for k, place in enumerate(places):
            if 0 <= place < size:
                line[:, place] = values[:, k]
        found["measurements"] = line if (places >= 0).any() else None
    if size >= FEW:
        index = ("coordinate", np.arange(size, dtype=np.float64))
        found["fields"] = {"state": Grid(0, (index,), "")}
    return found


def _of_fields(ds: "xr.Dataset", filters: Sequence[str]) -> dict[str, Any]:
    """Return the states of a run whose coordinates are fields, side by side."""
    lead = {"filter", "member", *TIMES}
    fields = _sorted(ds)
    grids, start, parts = {}, 0, {}
    for field, own in fields.items():
        first = next(iter(own.values()))
        dims = [dim for dim in first.dims if dim not in lead]
        places = tuple((str(dim), _axis(ds, str(dim))) for dim in dims)
        grids[field] = Grid(start, places, str(first.attrs.get("units", "")))
        start = grids[field].columns.stop
    for part in ("mean", "spread", "truth", "measurement", "analysis", "last"):
        if fields and all(part in own for own in fields.values()):
            parts[part] = {field: own[part] for field, own in fields.items()}
    return {"fields": grids, **_joined(parts, filters)}


def _sorted(ds: "xr.Dataset") -> dict[str, dict[str, Any]]:
    """Return the variables of every field by what they are of it: mean, spread, analysis, ..."""
    fields: dict[str, dict[str, Any]] = {}
    said = any(
        name.rpartition("_")[0] and name.rpartition("_")[2] in PARTS for name, _ in _named(ds)
    )
    for name, variable in _named(ds):
        if name in AnalysisInfo._fields or "component" in variable.dims or name.startswith("saved"):
            continue
        timed = bool(set(variable.dims) & set(TIMES))
        field, _, part = name.rpartition("_")
        if not field or part not in PARTS:
            if not timed or (said and "member" not in variable.dims):  # a score, or another's
                continue
            field, part = name, "analysis" if "member" in variable.dims else "mean"
        if part in ENSEMBLES:
            part = "analysis" if timed else "last"
        fields.setdefault(field, {})[part] = variable
    return fields


def _joined(parts: Mapping[str, Mapping[str, Any]], filters: Sequence[str]) -> dict[str, Any]:
    """Return the fields of every part as vectors."""
    found: dict[str, Any] = {}
    for part, own in parts.items():
        axes = ("member",) if part in ("analysis", "last") else ()
        pieces = []
        for variable in own.values():
            dims = [d for d in variable.dims if d not in {"filter", "member", *TIMES}]
            pieces.append({
                name: array.reshape((*array.shape[: len(axes) + (part != "last")], -1))
                for name, array in _by_filter(variable, filters, (*axes, *map(str, dims)))
            })  # fmt: skip
        joined = {n: np.concatenate([p[n] for p in pieces], axis=-1) for n in pieces[0]}
        single = {"truth": "truth", "measurement": "measurements"}
        if part in single:
            found[single[part]] = next(iter(joined.values()))
        else:
            names = {"mean": "means", "spread": "spreads", "analysis": "ensembles"}
            found[names.get(part, part)] = joined
    if "ensembles" in found:
        found.setdefault("spreads", {k: _spread(v) for k, v in found["ensembles"].items()})
    return found


def _of_info(ds: "xr.Dataset", filters: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Return the reports that are there, by filter."""
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in filters}
    for field in AnalysisInfo._fields[:-1]:
        if field in ds and set(ds[field].dims) & set(TIMES):
            for name, values in _by_filter(ds[field], filters, (), keep=True):
                found[name][field] = values
    return found


def _of_scores(ds: "xr.Dataset", filters: Sequence[str]) -> dict[str, str]:
    """Return the score of each filter: W2 where it is known, else the energy score."""
    for field, words in (("score_w2", "W2"), ("score_energy_score", "energy score")):
        if field in ds and ds[field].dims == ("filter",) and np.isfinite(ds[field].values).any():
            pairs = zip(filters, ds[field].values, strict=True)
            return {name: f"{words} {value:.3g}" for name, value in pairs}
    return {}


def _by_filter(
    variable: Any, filters: Sequence[str], axes: tuple[str, ...], keep: bool = False
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the array [t *axes] of every filter."""
    axes = (*(dim for dim in TIMES if dim in variable.dims), *axes)
    if set(variable.dims) - {"filter"} != set(axes):
        raise ValueError(f"{variable.name}: expected the dimensions {axes}, got {variable.dims}")
    for k, name in enumerate(filters):
        own = variable.isel(filter=k) if "filter" in variable.dims else variable
        values = own.transpose(*axes).values
        yield name, values if keep else values.astype(np.float64)


def _named(ds: "xr.Dataset") -> Iterator[tuple[str, Any]]:
    return ((str(name), variable) for name, variable in ds.data_vars.items())


def _array(variable: Any) -> Points:
    return np.asarray(variable.values, dtype=np.float64)


def _axis(ds: "xr.Dataset", dim: str) -> Points:
    if dim in ds.coords and ds[dim].dtype.kind in "iuf":
        return np.asarray(ds[dim].values, dtype=np.float64)
    return np.arange(ds.sizes[dim], dtype=np.float64)


def _spread(members: Points) -> Points:
    """Return the standard deviation of the members [t d], divisor N - 1."""
    if members.shape[1] < 2:
        return np.full((members.shape[0], members.shape[2]), np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        return members.std(axis=1, ddof=1)


def _members(ds: "xr.Dataset") -> int | None:
    """Return the ensemble size: that of the members, else what the file says of its making."""
    if "member" in ds.sizes:
        return int(ds.sizes["member"])
    try:
        found = ds.attrs.get("members", json.loads(ds.attrs["settings"]).get("members"))
    except (KeyError, TypeError, ValueError, AttributeError):
        found = ds.attrs.get("members")
    return int(found) if isinstance(found, int | float) and found >= 1 else None
