"""The files of `kdediff run`: everything needed to score or draw the run again, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import plots, results
from ..analysis.base import AbstractAnalysis
from ..analysis.outcome import AnalysisInfo
from ..experiments.experiment import Experiment, Twin
from ..experiments.run import Run, most_bimodal
from ..experiments.scores import Scores
from ..observations.operators import Identity, Select
from ..results.netcdf import Variable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE_WRITTEN = 1000  # draws of the reference posterior per cycle
INFO_FIELDS = AnalysisInfo._fields[:-1]  # the mean is written by itself


class Finished(NamedTuple):
    """One filter's run and its scores, means over cycles and those of every cycle."""

    run: Run
    scores: Scores
    analysis: AbstractAnalysis
    by_cycle: Mapping[str, np.ndarray]


class Comparison(NamedTuple):
    """Everything that a command has computed; `done` by the filter's name."""

    experiment: Experiment
    twin: Twin
    posterior: np.ndarray | None
    done: dict[str, Finished]

    @property
    def times(self) -> np.ndarray:
        """Model time of every cycle."""
        steps = np.arange(1, len(self.twin.ys) + 1)
        return steps * float(self.experiment.dynamics.interval)


def write(
    comparison: Comparison, settings: Mapping[str, object], *, seed: int, path: Path, force: bool
) -> None:
    """Write the NetCDF file."""
    experiment, twin, done = comparison.experiment, comparison.twin, comparison.done
    variables: dict[str, Variable] = {
        "truth": (("cycle", "coordinate"), twin.truth, {"long_name": "true state"}),
        "measurement": (("cycle", "component"), twin.ys, {"long_name": "measurement"}),
        **_of_results(done),
        **_of_scores(done),
    }
    measured = measured_coordinates(experiment.observation, np.shape(twin.truth)[1])
    if measured is not None:
        about = {"long_name": "coordinate that the component measures, from 0"}
        variables["measured_coordinate"] = (("component",), measured, about)
    if comparison.posterior is not None:
        kept = comparison.posterior[:, :REFERENCE_WRITTEN]
        variables["reference"] = (
            ("cycle", "draw", "coordinate"), kept, {"long_name": "reference posterior draws"},
        )  # fmt: skip
    coords: dict[str, Variable] = {
        "filter": (("filter",), np.array(list(done), dtype=object), {}),
        "cycle": (("cycle",), np.arange(1, len(twin.ys) + 1), {}),
        "time": (("cycle",), comparison.times, {"units": "model time"}),
        "coordinate": (("coordinate",), np.array(experiment.coordinates, dtype=object), {}),
    }
    used = {**settings, "analysis": {name: d.analysis for name, d in done.items()}}
    attrs = results.provenance(used, seed=seed)
    results.write(results.dataset(variables, attrs, coords), path, force=force)


def measured_coordinates(observation: object, size: int) -> np.ndarray | None:
    """Return the coordinate that each component measures as it is, None where that is not known."""
    operator = getattr(observation, "operator", None)
    if isinstance(operator, Identity):
        return np.arange(size)
    if isinstance(operator, Select):
        return np.asarray(operator.indices) % size
    return None


def _of_results(done: Mapping[str, Finished]) -> dict[str, Variable]:
    """Return the analyses, their means and what each reports."""
    found = [finished.run.result for finished in done.values()]
    variables: dict[str, Variable] = {
        "analysis": (
            ("filter", "cycle", "member", "coordinate"),
            np.stack([result.saved for result in found]),
            {"long_name": "analysis ensemble"},
        ),
        "mean": (
            ("filter", "cycle", "coordinate"),
            np.stack([result.info.mean for result in found]),
            {"long_name": "posterior mean"},
        ),
    }
    for field in INFO_FIELDS:
        stacked = np.stack([np.asarray(getattr(result.info, field)) for result in found])
        values = stacked.astype(np.int8) if field == "ok" else stacked
        variables[field] = (("filter", "cycle"), values, {"long_name": f"AnalysisInfo.{field}"})
    return variables


def _of_scores(done: Mapping[str, Finished]) -> dict[str, Variable]:
    """Return the scores and the times of each filter."""
    variables: dict[str, Variable] = {}
    for field in Scores._fields:
        values = np.array([getattr(finished.scores, field) for finished in done.values()])
        variables[f"score_{field}"] = (("filter",), values, {"long_name": f"mean {field}"})
    for name in next(iter(done.values())).by_cycle:
        stacked = np.stack([finished.by_cycle[name] for finished in done.values()])
        variables[name] = (("filter", "cycle"), stacked, {"long_name": f"{name} of the cycle"})
    for field in ("compile_seconds", "run_seconds"):
        values = np.array([getattr(finished.run, field) for finished in done.values()])
        variables[field] = (("filter",), values, {"units": "s"})
    return variables


def _measured(comparison: Comparison, coordinate: int) -> np.ndarray | None:
    """Return the measurements of a coordinate itself, None where there are none."""
    truth, ys = comparison.twin.truth, np.asarray(comparison.twin.ys)
    places = measured_coordinates(comparison.experiment.observation, np.shape(truth)[1])
    found = np.flatnonzero(places == coordinate) if places is not None else []
    return ys[:, found[0]] if len(found) else None


def drawn(comparison: Comparison) -> Figure:
    """Return the picture: trajectories, and the ensembles at the most bimodal moment."""
    experiment, posterior, done = comparison.experiment, comparison.posterior, comparison.done
    shown = list(experiment.shown)
    first, names = shown[0], [experiment.coordinates[j] for j in shown]
    truth = np.asarray(comparison.twin.truth)
    ensembles = {name: np.asarray(d.run.result.saved) for name, d in done.items()}
    largest = posterior if posterior is not None else next(iter(ensembles.values()))
    moment = most_bimodal(largest, first)
    bands = {n: np.nanquantile(e[:, :, first], [0.05, 0.95], axis=1) for n, e in ensembles.items()}
    score_name, field = ("energy score", "energy_score") if posterior is None else ("W2", "w2")
    return plots.overview(
        comparison.times,
        truth[:, first],
        {n: np.asarray(d.run.result.info.mean)[:, first] for n, d in done.items()},
        {n: band[0] for n, band in bands.items()},
        {n: band[1] for n, band in bands.items()},
        {n: e[moment][:, shown] for n, e in ensembles.items()},
        truth[moment, shown],
        title=f"{experiment.name}: {experiment.summary}",
        reference=None if posterior is None else posterior[moment][:, shown],
        scores={n: getattr(d.scores, field) for n, d in done.items()},
        score_name=score_name,
        moment=float(comparison.times[moment]),
        coordinate=names[0],
        measurements=_measured(comparison, first),
        coordinates=tuple(names),
    )
