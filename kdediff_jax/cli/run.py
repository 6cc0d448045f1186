"""`kdediff run`: filters with progress, a table, a NetCDF file and a picture."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .. import experiments, plots, results
from ..experiments import run as running
from ..experiments import scoring
from ..experiments.base import Experiment, Twin
from ..samplers import ProbabilityFlow, per_member_pid
from ..schedules import VarianceExploding


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of one run."""

    experiment: str
    filters: tuple[str, ...]
    members: int
    cycles: int | None
    seed: int
    x64: bool
    state_bandwidth: float | None
    obs_bandwidth: float | None
    tau_max: float | None
    start: str
    tolerance: float | None
    inflation: float | None
    jitter: float | None


@dataclasses.dataclass
class Finished:
    """One filter's run and its scores."""

    run: running.Run
    scores: scoring.Scores
    analysis: Any


def run_experiment(settings: Settings, result_file: Path, picture: Path, *, force: bool) -> None:
    """Run, print, write. The files are written only when everything has been computed.

    Raises:
        ValueError: a number out of range.
        RuntimeError: no filter got through all cycles.
    """
    if settings.x64:
        jax.config.update("jax_enable_x64", True)
    experiment = experiments.load(settings.experiment)
    cycles = settings.cycles or experiment.num_cycles
    filters = {name: _filter(experiment, name, settings) for name in settings.filters}
    dtype = jnp.dtype(jnp.float64 if settings.x64 else jnp.float32)
    twin = experiment.twin(settings.seed, settings.members, cycles, dtype)
    console = Console()
    console.print(
        f"[bold]{experiment.name}[/]: {experiment.summary}\n"
        f"{cycles} cycles, {settings.members} members, seed {settings.seed}, {dtype.name} on "
        f"{jax.devices()[0].device_kind}",
        highlight=False,
    )
    done: dict[str, Finished] = {}
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:

        def task(description: str):
            number = progress.add_task(description, total=cycles)
            return lambda cycles: progress.advance(number, cycles)

        posterior = None
        if experiment.exact or experiment.reference_particles:
            report = task("reference posterior")
            posterior = running.reference(experiment, twin, settings.seed, progress=report)
        for name, analysis in filters.items():
            run = running.run_filter(
                experiment, analysis, twin, settings.seed, progress=task(f"{name}: filtering")
            )
            result = run.result
            scores = scoring.score(
                experiment, result.saved, result.info, twin.truth, posterior,
                progress=task(f"{name}: scoring"),
            )  # fmt: skip
            done[name] = Finished(run, scores, analysis)
    console.print(_table(done, experiment, settings.members))
    for name, finished in done.items():
        if finished.scores.failed:
            console.print(f"[yellow]{name}: {finished.scores.failed} cycles failed[/]; the first:")
            console.print(f"  {_reason(finished.run)}", highlight=False)
    _write(settings, experiment, twin, posterior, done, result_file, force)
    _draw(experiment, twin, posterior, done, picture, force)
    console.print(f"results  {result_file}\npicture  {picture}", highlight=False)


def _filter(experiment: Experiment, name: str, settings: Settings):
    flow = ProbabilityFlow(start=settings.start)
    if settings.tau_max is not None:
        flow = dataclasses.replace(flow, schedule=VarianceExploding(tau_max=settings.tau_max))
    if settings.tolerance is not None:
        if not 0 < settings.tolerance < 1:
            raise ValueError(f"tolerance: expected between 0 and 1, got {settings.tolerance}")
        flow = dataclasses.replace(flow, stepsize_controller=per_member_pid(settings.tolerance))
        if settings.tolerance < 1e-4:  # the default solver's order is three
            flow = dataclasses.replace(flow, solver=diffrax.Dopri5())
    return experiment.filter(
        name,
        settings.members,
        state_bandwidth=settings.state_bandwidth,
        obs_bandwidth=settings.obs_bandwidth,
        sampler=flow if name == "kde" else None,
        inflation=settings.inflation,
        jitter=settings.jitter,
    )


def _reason(run: running.Run) -> str:
    try:
        run.result.raise_if_failed()
    except RuntimeError as error:
        return str(error)
    return ""


def _table(done: dict[str, Finished], experiment: Experiment, members: int) -> Table:
    headers = ["filter", "W2", "energy", "CRPS", "RMSE", "spread", "rank p", "ESS", "steps"]
    headers += ["compile s", "run s"]
    # 80 columns hold it
    table = Table(*headers, box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, finished in done.items():
        s = finished.scores
        cells = [
            _cell(s.w2),
            _cell(s.energy_score),
            _cell(s.crps),
            _cell(s.rmse),
            _cell(s.spread),
            "-" if math.isnan(s.rank_p) else f"{s.rank_p:.2g}",
            f"{s.ess:.0f}",
            f"{s.steps:.1f}",
        ]
        run = finished.run
        table.add_row(name, *cells, f"{run.compile_seconds:.2f}", f"{run.run_seconds:.3f}")
    published = [e for e in experiment.expected if e.members == members and e.method in done]
    if published:
        values = ", ".join(f"{e.method} {e.value:g}" for e in published)
        table.caption = f"published {published[0].score} for {members} members: {values}"
        table.caption_justify = "left"
    return table


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _write(settings, experiment, twin: Twin, posterior, done, path: Path, force: bool) -> None:
    """Write everything needed to score or draw the run again."""
    names = list(done)
    time = ("cycle",)
    interval = float(experiment.dynamics.interval)
    steps = np.arange(1, len(twin.ys) + 1)
    run = [d.run for d in done.values()]
    variables: dict[str, Any] = {
        "truth": (("cycle", "coordinate"), twin.truth, {"long_name": "true state"}),
        "measurement": (("cycle", "component"), twin.ys, {"long_name": "measurement"}),
        "analysis": (
            ("filter", "cycle", "member", "coordinate"),
            np.stack([r.result.saved for r in run]),
            {"long_name": "analysis ensemble"},
        ),
        "mean": (
            ("filter", "cycle", "coordinate"),
            np.stack([r.result.info.mean for r in run]),
            {"long_name": "posterior mean"},
        ),
    }
    for field in ("ess", "num_steps", "num_rejected", "ok", "num_masked"):
        stacked = np.stack([np.asarray(getattr(r.result.info, field)) for r in run])
        values = stacked.astype(np.int8) if field == "ok" else stacked
        variables[field] = (("filter", "cycle"), values, {"long_name": f"AnalysisInfo.{field}"})
    for field in scoring.Scores._fields:
        values = np.array([getattr(d.scores, field) for d in done.values()])
        variables[f"score_{field}"] = (("filter",), values, {"long_name": f"mean {field}"})
    for field in ("compile_seconds", "run_seconds"):
        values = np.array([getattr(r, field) for r in run])
        variables[field] = (("filter",), values, {"units": "s"})
    if posterior is not None:
        kept = posterior[:, :1000]
        variables["reference"] = (
            ("cycle", "draw", "coordinate"), kept, {"long_name": "reference posterior draws"},
        )  # fmt: skip
    coords = {
        "filter": (("filter",), np.array(names, dtype=object), {}),
        "cycle": (time, steps, {}),
        "time": (time, steps * interval, {"units": "model time"}),
        "coordinate": (("coordinate",), np.array(experiment.coordinates, dtype=object), {}),
    }
    used = {**dataclasses.asdict(settings), "analysis": {n: d.analysis for n, d in done.items()}}
    attrs = results.provenance(used, seed=settings.seed)
    results.write(results.dataset(variables, attrs, coords), path, force=force)


def _draw(experiment, twin: Twin, posterior, done, path: Path, force: bool) -> None:
    """Draw the trajectories and the ensembles at the most bimodal moment."""
    first = experiment.shown[0]
    shown = list(experiment.shown)
    names = [experiment.coordinates[j] for j in shown]
    interval = float(experiment.dynamics.interval)
    times = np.arange(1, len(twin.ys) + 1) * interval
    ensembles = {name: np.asarray(d.run.result.saved) for name, d in done.items()}
    largest = posterior if posterior is not None else next(iter(ensembles.values()))
    moment = running.most_bimodal(largest, first)
    bands = {n: np.nanquantile(e[:, :, first], [0.05, 0.95], axis=1) for n, e in ensembles.items()}
    scored = "energy score" if posterior is None else "W2"
    figure = plots.overview(
        times,
        np.asarray(twin.truth)[:, first],
        {n: np.asarray(d.run.result.info.mean)[:, first] for n, d in done.items()},
        {n: band[0] for n, band in bands.items()},
        {n: band[1] for n, band in bands.items()},
        {n: e[moment][:, shown] for n, e in ensembles.items()},
        np.asarray(twin.truth)[moment, shown],
        title=f"{experiment.name}: {experiment.summary}",
        reference=None if posterior is None else posterior[moment][:, shown],
        scores={
            n: d.scores.energy_score if posterior is None else d.scores.w2 for n, d in done.items()
        },
        score_name=scored,
        moment=float(times[moment]),
        coordinate=names[0],
        coordinates=tuple(names),
    )
    plots.save(figure, path, force=force)
