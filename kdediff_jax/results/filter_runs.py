"""A filtering run as a data set: named dimensions, units, what each variable is."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from .fields import field_coordinates, split_fields
from .netcdf import Variable, dataset
from .origin import package_version

if TYPE_CHECKING:
    import xarray as xr

    from ..fields import StateSpace

CYCLE, MEMBER, COORDINATE, COMPONENT = "cycle", "member", "coordinate", "component"
CONVENTIONS = "CF-1.11"
METHODS = {"mean": "member: mean", "spread": "member: standard_deviation"}
NAMES = {
    "mean": "posterior mean",
    "spread": "standard deviation of the analysis members",
    "analysis": "analysis ensemble",
    "ensemble": "analysis ensemble of the last cycle",
    "truth": "true state",
    "measurement": "measurement",
    "ess": "effective sample size of the weights",
    "num_steps": "accepted solver steps",
    "num_rejected": "rejected solver steps",
    "ok": "1 where the analysis is sound, 0 where the cycle failed",
    "num_masked": "members that were left out",
    "num_gross_errors": "components of the measurement left out as gross errors",
    "num_unreached": "coordinates that no measurement reaches",
    "normalised_innovation": "mean squared innovation in units of its expectation",
}


def run_dataset(
    saved: Any,
    info: Any,
    ensemble: ArrayLike,
    *,
    space: StateSpace | None = None,
    times: ArrayLike | None = None,
    measurements: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    attrs: Mapping[str, str | int | float] | None = None,
) -> xr.Dataset:
    """Collect a run, or a batch of runs, with named dimensions; see `FilterResult.to_xarray`.

    Args:
        saved: what was stored of each cycle: moments, ensembles, or any pytree of arrays.
        info: the report of each cycle, a named tuple of arrays [*runs t], its mean [*runs t d].
        ensemble: final members [*runs n d].
        space: fields that the coordinates belong to.
        times: model time of every cycle.
        measurements: [t m], or [*runs t m].
        truth: [t d], or [*runs t d].
        attrs: of the whole.

    Raises:
        ValueError: shapes that do not fit, fields whose dimensions are called as those of a run.
        ImportError: xarray, h5netcdf or h5py is not installed.
    """
    batch, cycles = np.shape(info.ok)[:-1], np.shape(info.ok)[-1]
    runs = ("run",) if len(batch) == 1 else tuple(f"run_{k}" for k in range(len(batch)))
    lead = (*runs, CYCLE)
    states: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "mean": (lead, np.asarray(info.mean)),
        "ensemble": ((*runs, MEMBER), np.asarray(ensemble)),
    }
    variables: dict[str, Variable] = {}
    n, d = np.shape(ensemble)[-2:]
    if hasattr(saved, "spread"):
        states["spread"] = (lead, np.asarray(saved.spread))
    elif getattr(saved, "shape", None) == (*batch, cycles, n, d):
        states["analysis"] = ((*lead, MEMBER), np.asarray(saved))
    else:
        variables |= _others(saved, lead)
    if truth is not None:
        states["truth"] = _series("truth", truth, lead, cycles, d)
    if measurements is not None:
        dims, values = _series("measurements", measurements, lead, cycles)
        variables["measurement"] = _variable("measurement", (*dims, COMPONENT), values)
    for name, values in info._asdict().items():
        if name != "mean":
            array = np.asarray(values)
            units = {} if name == "ok" else {"units": "1"}
            array = array.astype(np.int8) if name == "ok" else array
            variables[name] = _variable(name, lead, array, units)
    coordinates = _coordinates(cycles, times)
    if space is None:
        variables |= {
            name: _variable(name, (*dims, COORDINATE), values)
            for name, (dims, values) in states.items()
        }
    else:
        taken = (*lead, MEMBER, COMPONENT, *coordinates)
        coordinates |= field_coordinates(space, taken)
        for name, (dims, values) in states.items():
            split = split_fields(space, name, values, dims, _attributes(name))
            variables |= {(own if name == "analysis" else f"{own}_{name}"): v for own, v in split}
    return dataset(variables, _of_the_whole() | dict(attrs or {}), coordinates)


def _variable(
    name: str, dims: tuple[str, ...], values: Any, more: Mapping[str, str] | None = None
) -> Variable:
    return dims, np.asarray(values), _attributes(name) | dict(more or {})


def _attributes(name: str) -> dict[str, str]:
    """Return what a variable is, for people and for CF's readers."""
    found = {"long_name": NAMES.get(name, name)}
    return found | ({"cell_methods": METHODS[name]} if name in METHODS else {})


def _of_the_whole() -> dict[str, str | int | float]:
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    version = package_version("kdediff_jax")
    return {
        "Conventions": CONVENTIONS,
        "title": "ensemble filter run",
        "source": f"kdediff_jax {version}",
        "history": f"{made} made by kdediff_jax {version}",
    }


def _others(saved: Any, lead: tuple[str, ...]) -> dict[str, Variable]:
    """Return the arrays of a `save` of the user's own, their further axes by number."""
    found: dict[str, Variable] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(saved):
        place = jax.tree_util.keystr(path, simple=True, separator="_")
        name = f"saved_{place}" if place else "saved"
        values = np.asarray(leaf)
        own = tuple(f"{name}_axis_{k}" for k in range(values.ndim - len(lead)))
        found[name] = _variable(name, (*lead, *own), values, {"long_name": "what `save` stored"})
    return found


def _series(
    name: str, values: ArrayLike, lead: tuple[str, ...], cycles: int, size: int | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return dimensions and values of a series that the runs share, or have each their own."""
    array = np.asarray(values)
    fits = array.ndim in (2, len(lead) + 1) and array.shape[-2] == cycles
    if not fits or size not in (None, array.shape[-1]):
        row = "m" if size is None else size
        raise ValueError(f"{name}: expected shape ({cycles}, {row}), got {array.shape}")
    return (lead if array.ndim > 2 else lead[-1:]), array


def _coordinates(cycles: int, times: ArrayLike | None) -> dict[str, Variable]:
    counted = {"long_name": "cycle, counted from 0", "units": "1"}
    found: dict[str, Variable] = {CYCLE: ((CYCLE,), np.arange(cycles), counted)}
    if times is not None:
        values = np.asarray(times)
        if values.shape != (cycles,):
            raise ValueError(f"times: expected shape ({cycles},), got {values.shape}")
        about = {"long_name": "model time of the measurement", "units": "model time"}
        found["time"] = ((CYCLE,), values, about)
    return found
