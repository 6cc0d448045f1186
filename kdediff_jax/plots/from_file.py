"""The figures of a result file, by their kind."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import results
from .by_kind import DRAWN, Choice, lacking
from .reading import is_sweep, read_run
from .record import Record
from .sweep_map import sweep_map

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

KINDS: Mapping[str, str] = {
    "trajectory": "mean and bands over time: of one variable for every filter, or of several",
    "ensemble": "members of one cycle in one or two variables, a panel per filter",
    "marginals": "members of one cycle of one filter: every marginal, and every pair",
    "map": "a field: against time, or in two dimensions at one cycle; mean, spread, error",
    "rank": "how often the truth took each rank among the members",
    "spread": "error of the mean against the spread",
    "innovation": "normalised innovation of every cycle, and its distribution",
    "effort": "effective sample size and solver steps of every cycle",
    "diagnostics": "one page on a filter's health, with what was found",
    "heat-map": "a sweep's score over two settings",
}


def kinds(source: "str | os.PathLike[str] | xr.Dataset") -> tuple[str, ...]:
    """Return the kinds of figures that `draw` can make from a file.

    Args:
        source: As of `draw`.

    Raises:
        FileNotFoundError, ValueError, ImportError: As `draw`.
    """
    data, title = _opened(source)
    if is_sweep(data):
        return ("heat-map",)
    record = _run(data, title)
    return tuple(kind for kind in DRAWN if not lacking(kind, record))


def draw(
    source: "str | os.PathLike[str] | xr.Dataset",
    kind: str,
    *,
    cycle: int | None = None,
    variable: str | Sequence[str] | None = None,
    filter: str | None = None,
) -> "Figure":
    """Draw a result file.

    Args:
        source: A file that ``kdediff run``, ``kdediff sweep`` or `results.write` made, or its data
            set.
        kind: One of `KINDS`.
        cycle: Number of the cycle as in the file, where one is drawn, from the end if negative; the
            last if not given.
        variable: Name of a coordinate (``x``, ``temperature[lat=50, lon=10]``), of a field
            (``temperature``), or a coordinate's number, counted from 0; or several. Of a sweep the
            score. If not given, the first that there are.
        filter: Of a file with several filters; all, or the first where the figure is of one.

    Returns:
        The figure, 1200 pixels wide.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a result, or does not hold what the figure needs; if the kind, the
            cycle, a variable or the filter is unknown.
        ImportError: If matplotlib, xarray, h5netcdf or h5py is not installed.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    names = [variable] if isinstance(variable, str) else list(variable or ())
    data, title = _opened(source)
    if is_sweep(data) != (kind == "heat-map"):
        held = "a sweep" if is_sweep(data) else "a run"
        fits = "heat-map" if is_sweep(data) else ", ".join(DRAWN)
        raise ValueError(f"kind: the file holds {held}, expected one of {fits}, got {kind!r}")
    if kind == "heat-map":
        return _sweep(data, names, title)
    record = _run(data, title)
    record = record if filter is None else record.only(filter)
    missing = lacking(kind, record)
    if missing:
        raise ValueError(f"kind: {kind} needs {missing}, which the file does not hold")
    index = None if cycle is None else record.place(cycle)
    columns = [k for name in names for k in record.columns(name)] or None
    field = next((name for name in names if name in record.fields), None)
    return DRAWN[kind](record, Choice(index, columns, field))


def _opened(source: Any) -> "tuple[xr.Dataset, str]":
    """Return the data set and its headline."""
    if isinstance(source, str | os.PathLike):
        return results.read(source), Path(source).stem
    if source.attrs.get("format") != results.netcdf.FORMAT:
        raise ValueError(f"source: expected a result's data set, got {list(source.attrs)}")
    return source, str(source.attrs.get("title", "Run"))


def _run(data: "xr.Dataset", title: str) -> Record:
    try:
        return read_run(data, title)
    except ValueError as error:
        raise ValueError(f"{title}: {error}") from None


def _sweep(data: "xr.Dataset", names: list[str], title: str) -> "Figure":
    """Draw the score named, else the one that the sweep selected by."""
    grid = {str(k): v.values for k, v in data.coords.items() if v.dims == (k,)}
    scores = [str(k) for k, v in data.data_vars.items() if v.dims == tuple(grid)]
    selected = str(data.attrs.get("selected_by", "")).partition(" ")[2].partition(" ")[0]
    if len(names) > 1:
        raise ValueError(f"variable: expected one score of a sweep, got {', '.join(names)}")
    name = names[0] if names else selected if selected in scores else next(iter(scores), "")
    if name not in scores:
        raise ValueError(f"variable: expected one of {', '.join(scores)}, got {name!r}")
    chosen = json.loads(data.attrs["selected"]) if name == selected else None
    return sweep_map(grid, data[name].values, chosen=chosen, score=name, title=title)
