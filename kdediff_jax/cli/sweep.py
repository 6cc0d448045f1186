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
from rich.table import Table
from rich.text import Text

from .. import experiments, plots, results
from .._words import counted
from ..experiments import costs, sweeps
from ..experiments import quick as quickness
from ..experiments.experiment import Experiment
from ..experiments.records import Point
from ..experiments.sweeps import ExperimentRun
from ..sweeping import SweepResult, best_point, smallest, sweep, use_every_core
from .messages import console as new_console
from .messages import say
from .options import MEMBERS, PARTIAL
from .progress import board
from .tables import show


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of one sweep."""

    experiment: str
    filter: str
    quick: bool
    members: int | None
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
    settings = dataclasses.replace(
        settings, members=settings.members or (quickness.MEMBERS if settings.quick else MEMBERS)
    )
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
    members = settings.members or 0
    if settings.quick:
        experiment = quickness.quick(experiment)
    grid = settings.grid or sweeps.default_grid(experiment, settings.filter)
    if settings.quick and not settings.grid:
        grid = quickness.few_values(grid)
    _check_axes(grid, settings.filter)
    experiment.filter(settings.filter, members)  # says at once if it cannot be had
    cycles = settings.cycles or experiment.num_cycles
    _say_cost(experiment, settings, math.prod(map(len, grid.values())), cycles, console)
    with board(console) as shown:
        advance = shown.task("reference posterior", len(settings.seeds), "seeds")
        posteriors = sweeps.references(
            experiment, settings.seeds, cycles, progress=lambda seed: advance(1)
        )
    run = ExperimentRun(
        experiment, settings.filter, members, num_cycles=cycles, posteriors=posteriors
    )
    shapes = jax.eval_shape(run, {"seed": jax.ShapeDtypeStruct((), jnp.int32)})
    score = settings.score or ("energy_score" if posteriors is None else "sliced_w2")
    if score not in shapes:
        raise ValueError(f"--score: expected one of {', '.join(shapes)}, got {score!r}")
    job = Job(run, {**grid, "seed": settings.seeds}, cycles, score)
    console.print(
        Text(experiment.name, style="bold").append(
            f", {settings.filter}: {counted(job.points, 'point')} "
            f"({' × '.join(f'{len(v)} {n}' for n, v in job.axes.items())}), {members} members, "
            f"{counted(cycles, 'cycle')}, {jax.device_count()} × {jax.devices()[0].device_kind}",
            style="not bold",
        )
    )
    return job


def _say_cost(
    experiment: Experiment, settings: Settings, points: int, cycles: int, console: Console
) -> None:
    """Say how long it will take; points run side by side, one a core."""
    members, cores = settings.members or 0, jax.local_device_count()
    found = costs.cost(experiment, (settings.filter,), members, cycles, cores)
    seeds = len(settings.seeds)
    running = found.cycle[settings.filter] * cycles * points * seeds / cores
    particles = 0 if experiment.exact is not None else experiment.reference_particles
    references = particles * cycles * seeds * 1e-6
    say(f"takes about {costs.duration(found.compiling + running + references)}", console)
    for warning in costs.dear((settings.filter,), members, len(experiment.coordinates)):
        say(Text("slow", style="yellow").append(f": {warning}", style="default"), console)


def _swept(settings: Settings, job: Job, partial: Path, console: Console) -> SweepResult:
    """Run the sweep with a progress bar; finished points are kept in the partial file."""
    if partial.exists():
        say(f"going on from {partial}", console)
    with board(console) as shown:
        advance, before = shown.task("sweep", job.points, "points"), 0

        def progress(done: int, total: int) -> None:
            nonlocal before
            advance(done - before)
            before = done

        return sweep(
            job.run,
            job.axes,
            batch_size=settings.batch_size,
            memory=settings.memory,
            checkpoint=partial,
            fingerprint=_fingerprint(settings, job.cycles),
            progress=progress,
        )


def _report(result: SweepResult, job: Job, means: np.ndarray, console: Console) -> None:
    table = _table(result, job.score, means)
    total, rows = means.size, len(table.rows)
    cut = f"the {rows} best of {total} settings; all are in the file" if rows < total else ""
    show(console, table, [str(column.header).replace(" ", "_") for column in table.columns], cut)
    failed = int(np.sum(result.values["failed"] > 0))
    if failed:
        text = Text(f"{failed} of {counted(job.points, 'point')} failed", style="yellow")
        console.print(text.append(" (NaN in the file)", style="default"))
    console.print(
        f"compile {result.compile_seconds:.1f} s, run {result.run_seconds:.1f} s, batches of "
        f"{result.batch_size} on {counted(result.num_devices, 'device')}"
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
