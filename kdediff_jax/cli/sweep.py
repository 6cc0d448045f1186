"""`kdediff sweep`: a grid of settings and seeds, a NetCDF file and a heat map."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .. import experiments, plots, results
from ..experiments import sweeps
from ..experiments.records import Point
from ..experiments.sweeps import ExperimentRun
from ..sweeping import SweepResult, best_point, smallest, sweep, use_every_core
from .messages import console as new_console
from .messages import say
from .options import PARTIAL


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of one sweep."""

    experiment: str
    filter: str
    members: int
    cycles: int | None
    grid: dict[str, tuple[float, ...]]
    seeds: tuple[int, ...]
    score: str | None
    x64: bool
    batch_size: int | None
    memory: float | None


class Job(NamedTuple):
    """What is swept, and the score that chooses."""

    run: ExperimentRun
    axes: dict[str, tuple[float, ...]]
    cycles: int
    score: str

    @property
    def points(self) -> int:
        """Number of grid points, seeds included."""
        return math.prod(len(values) for values in self.axes.values())


def run_sweep(settings: Settings, result_file: Path, picture: Path, *, force: bool) -> None:
    """Run or go on with a sweep; write the files when every point is done.

    A call that was killed between the files and the removal of the finished points is ended: its
    own files are written again.

    Raises:
        FileExistsError: the files are there, are of another sweep, and may not be replaced.
        ValueError: an unknown axis or score, a damaged or foreign partial file.
        RuntimeError: no point got through all seeds.
    """
    use_every_core()
    jax.config.update("jax_enable_x64", settings.x64)  # whatever the environment says
    console = new_console()
    job = _job(settings, console)
    partial = result_file.with_name(result_file.stem + PARTIAL)
    force = force or (partial.exists() and _is_of(result_file, settings, job))
    for file in (result_file, picture):
        results.prepare_output(file, force=force)
    result = _swept(settings, job, partial, console)
    try:
        chosen, means = best_point(result, job.score)
    except ValueError as error:
        raise RuntimeError(f"{error}; the finished points are in {partial}") from error
    _report(result, job, means, console)
    attrs = _attributes(settings, job, result, chosen)
    data = results.sweep_dataset(result.axes, result.values, attrs)
    results.write(data, result_file, force=force)
    title = f"{job.run.experiment.name}, {settings.filter}"
    figure = plots.sweep_map(
        result.axes, result.values[job.score], chosen=chosen, score=job.score, title=title
    )
    plots.save(figure, picture, force=force)
    partial.unlink(missing_ok=True)
    say(f"results  {result_file}\npicture  {picture}", console)


def _job(settings: Settings, console: Console) -> Job:
    """Check the options, make the reference posterior and say what will run."""
    experiment = experiments.load(settings.experiment)
    grid = settings.grid or sweeps.default_grid(experiment, settings.filter)
    _check_axes(grid, settings.filter)
    experiment.filter(settings.filter, settings.members)  # says at once if it cannot be had
    cycles = settings.cycles or experiment.num_cycles
    with console.status("reference posterior"):
        posteriors = sweeps.references(experiment, settings.seeds, cycles)
    run = ExperimentRun(
        experiment, settings.filter, settings.members, num_cycles=cycles, posteriors=posteriors
    )
    shapes = jax.eval_shape(run, {"seed": jax.ShapeDtypeStruct((), jnp.int32)})
    score = settings.score or ("energy_score" if posteriors is None else "sliced_w2")
    if score not in shapes:
        raise ValueError(f"--score: expected one of {', '.join(shapes)}, got {score!r}")
    job = Job(run, {**grid, "seed": settings.seeds}, cycles, score)
    console.print(
        Text(experiment.name, style="bold").append(
            f", {settings.filter}: {job.points} points "
            f"({' × '.join(f'{len(v)} {n}' for n, v in job.axes.items())}), {settings.members} "
            f"members, {cycles} cycles, {jax.device_count()} × {jax.devices()[0].device_kind}",
            style="not bold",
        )
    )
    return job


def _swept(settings: Settings, job: Job, partial: Path, console: Console) -> SweepResult:
    """Run the sweep with a progress bar; finished points are kept in the partial file."""
    if partial.exists():
        say(f"going on from {partial}", console)
    columns = (TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("sweep", total=job.points)
        return sweep(
            job.run,
            job.axes,
            batch_size=settings.batch_size,
            memory=settings.memory,
            checkpoint=partial,
            fingerprint=_fingerprint(settings, job.cycles),
            progress=lambda done, total: progress.update(task, completed=done),
        )


def _report(result: SweepResult, job: Job, means: np.ndarray, console: Console) -> None:
    console.print(_table(result, job.score, means))
    failed = int(np.sum(result.values["failed"] > 0))
    if failed:
        text = Text(f"{failed} of {job.points} points failed", style="yellow")
        console.print(text.append(" (NaN in the file)", style="default"))
    console.print(
        f"compile {result.compile_seconds:.1f} s, run {result.run_seconds:.1f} s, batches of "
        f"{result.batch_size} on {result.num_devices} devices"
    )


def _attributes(
    settings: Settings, job: Job, result: SweepResult, chosen: Point
) -> dict[str, str | int | float]:
    """Return the attributes of the result's file."""
    return {
        **_origin(settings, job),
        "batch_size": result.batch_size,
        "num_devices": result.num_devices,
        "compile_seconds": result.compile_seconds,
        "run_seconds": result.run_seconds,
        "selected_by": f"mean {job.score} over seeds",
        "selected": json.dumps(chosen),
    }


def _origin(settings: Settings, job: Job) -> dict[str, str | int | float]:
    """Return the provenance of a sweep: all its settings, the experiment's grid among them."""
    grid = {axis: values for axis, values in job.axes.items() if axis != "seed"}
    used = {**dataclasses.asdict(settings), "grid": grid, "cycles": job.cycles}
    return results.provenance(used, seed=settings.seeds[0])


def _is_of(file: Path, settings: Settings, job: Job) -> bool:
    """Return whether a file is this very sweep's, and not one that must be kept."""
    try:
        attrs, origin = results.read(file).attrs, _origin(settings, job)
    except (ValueError, OSError):
        return False
    same = ("kdediff_jax", "commit", "settings")
    return all(attrs.get(name) == origin[name] for name in same)


def _check_axes(grid: Mapping[str, tuple[float, ...]], filter_name: str) -> None:
    known = sweeps.AXES[filter_name]
    for name in grid:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"--grid: {filter_name} has no {name!r} to sweep.{hint} Known: {', '.join(known)}"
        )


def _fingerprint(settings: Settings, cycles: int) -> str:
    """Describe all but the grid that decides the numbers."""
    origin = results.provenance({}, seed=0)
    same = ("kdediff_jax", "commit", "jax", "jaxlib", "diffrax", "equinox", "device")
    chosen = (settings.experiment, settings.filter, settings.members, cycles, settings.x64)
    return json.dumps([*chosen, *(f"{name} {origin[name]}" for name in same)])


def _table(result: SweepResult, score: str, means: np.ndarray, rows: int = 8) -> Table:
    """Return the best points, the chosen one first."""
    names = [name for name in result.axes if name != "seed"]
    seeds = len(result.axes["seed"])
    shown = [s for s in ("energy_score", "rmse", "coverage", "ess", "steps") if s != score]
    headers = [name.replace("_", " ") for name in (*names, score, "± se", *shown)]
    table = Table(*headers, box=None, header_style="bold", padding=(0, 1, 0, 0))
    for place in smallest(means, rows):
        values = [f"{result.axes[name][i]:g}" for name, i in zip(names, place, strict=True)]
        spread = np.std(result.values[score][place], ddof=1) if seeds > 1 else math.nan
        others = [f"{np.mean(result.values[s][place]):.3g}" for s in shown]
        table.add_row(*values, f"{means[place]:.3g}", f"{spread / math.sqrt(seeds):.2g}", *others)
    for column in table.columns:
        column.justify = "right"
    return table
