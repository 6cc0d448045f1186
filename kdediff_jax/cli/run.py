"""`kdediff run`: filters with progress, a table, a NetCDF file and a picture."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .. import experiments, plots
from ..analysis.base import AbstractAnalysis
from ..experiments import run as running
from ..experiments.experiment import Experiment
from ..experiments.filters import Setting, settings_of
from ..experiments.scores import score
from ..long_runs import remove_checkpoint
from ..samplers import ProbabilityFlow, per_member_pid
from ..schedules import VarianceExploding
from .messages import console as new_console
from .messages import say
from .run_files import Comparison, Finished, drawn, write

FILTER_OPTIONS = ("state_bandwidth", "obs_bandwidth", "kernel_width", "inflation", "jitter")
TOLERATED = 0.1  # share of failed cycles that the exit status does not tell
COLUMNS = (
    *("filter", "W2", "energy", "CRPS", "RMSE", "spread", "rank p", "ESS", "steps"),
    *("compile s", "run s"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of one run; without filters it is the experiment's default ones."""

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
    kernel_width: float | None
    inflation: float | None
    jitter: float | None


def run_experiment(
    settings: Settings,
    result_file: Path,
    picture: Path,
    *,
    force: bool,
    checkpoints: Path | None = None,
) -> None:
    """Run, print, write. The files are written only when everything has been computed.

    Args:
        settings: the options.
        result_file: where the result goes.
        picture: where the picture goes.
        force: whether files that are there may be replaced.
        checkpoints: folder of the finished cycles, to go on from; removed at the end.

    Raises:
        ValueError: a number out of range, or an option that none of the filters uses.
        RuntimeError: a filter failed in many of its cycles; the files are written all the same.
    """
    jax.config.update("jax_enable_x64", settings.x64)  # whatever the environment says
    experiment = experiments.load(settings.experiment)
    chosen = settings.filters or experiment.default_filters
    settings = dataclasses.replace(settings, filters=chosen)
    filters = _filters(experiment, settings)
    console = new_console()
    comparison = _run(experiment, settings, filters, console, checkpoints)
    console.print(_table(comparison, settings.members))
    _say_diagnoses(comparison, console)
    used = dataclasses.asdict(settings)
    figure = drawn(comparison)  # before the result: a kill in between would leave one without it
    write(comparison, used, seed=settings.seed, path=result_file, force=force)
    plots.save(figure, picture, force=force)
    if checkpoints is not None:
        for name in ("reference", *filters):
            remove_checkpoint(checkpoints / name)
        with contextlib.suppress(OSError):  # what somebody else has put there stays
            checkpoints.rmdir()
    say(f"results  {result_file}\npicture  {picture}", console)
    _refuse_many_failures(comparison)


def _refuse_many_failures(comparison: Comparison) -> None:
    """Raise RuntimeError, naming the filters, where more cycles failed than can be tolerated."""
    cycles = len(comparison.twin.ys)
    failed = {name: finished.scores.failed for name, finished in comparison.done.items()}
    many = [f"{name} in {n}" for name, n in failed.items() if n > TOLERATED * cycles]
    if many:
        raise RuntimeError(f"of {cycles} cycles failed {', '.join(many)}; the files are written")


def _filters(experiment: Experiment, settings: Settings) -> dict[str, AbstractAnalysis]:
    """Return the filters by name, each with those of the options that it uses."""
    values = ((name, getattr(settings, name)) for name in FILTER_OPTIONS)
    given: dict[str, Setting] = {name: value for name, value in values if value is not None}
    for option in given:
        if not any(option in settings_of(name) for name in settings.filters):
            shown = option.replace("_", "-")
            raise ValueError(f"--{shown}: none of the filters {', '.join(settings.filters)} has it")
    flow = _flow(settings)
    filters = {}
    for name in settings.filters:
        own = {option: value for option, value in given.items() if option in settings_of(name)}
        own |= {"sampler": flow} if name == "kde" else {}
        filters[name] = experiment.filter(name, settings.members, **own)
    return filters


def _flow(settings: Settings) -> ProbabilityFlow:
    """Return the sampler of `kde`.

    Raises:
        ValueError: a number out of range, or an option of the flow without `kde`.
    """
    given = {
        "--tau-max": settings.tau_max is not None,
        "--start": settings.start != "matched",
        "--tolerance": settings.tolerance is not None,
    }
    for option, is_given in given.items():
        if is_given and "kde" not in settings.filters:
            raise ValueError(f"{option}: expected kde among the filters, whose flow has it")
    flow = ProbabilityFlow(start=settings.start)
    if settings.tau_max is not None:
        flow = dataclasses.replace(flow, schedule=VarianceExploding(tau_max=settings.tau_max))
    if settings.tolerance is None:
        return flow
    if not 0 < settings.tolerance < 1:
        raise ValueError(f"tolerance: expected between 0 and 1, got {settings.tolerance}")
    flow = dataclasses.replace(flow, stepsize_controller=per_member_pid(settings.tolerance))
    if settings.tolerance < 1e-4:  # the default solver's order is three
        flow = dataclasses.replace(flow, solver=diffrax.Dopri5())
    return flow


def _run(
    experiment: Experiment,
    settings: Settings,
    filters: dict[str, AbstractAnalysis],
    console: Console,
    checkpoints: Path | None,
) -> Comparison:
    """Run and score every filter, with progress bars."""
    kept = (lambda name: None) if checkpoints is None else checkpoints.joinpath
    cycles = settings.cycles or experiment.num_cycles
    dtype = jnp.dtype(jnp.float64 if settings.x64 else jnp.float32)
    twin = experiment.twin(settings.seed, settings.members, cycles, dtype)
    console.print(
        Text(experiment.name, style="bold").append(f": {experiment.summary}\n", style="not bold")
        + f"{cycles} cycles, {settings.members} members, seed {settings.seed}, {dtype.name} on "
        f"{jax.devices()[0].device_kind}"
    )
    columns = (
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:

        def task(description: str) -> Callable[[int], None]:
            number = progress.add_task(description, total=cycles)
            return lambda cycles: progress.advance(number, cycles)

        comparison = Comparison(experiment, twin, None, {})
        if experiment.exact or experiment.reference_particles:
            report = task("reference posterior")
            found = running.reference(
                experiment, twin, settings.seed, progress=report, checkpoint=kept("reference")
            )
            comparison = comparison._replace(posterior=found)
        for name, analysis in filters.items():
            run = running.run_filter(
                experiment,
                analysis,
                twin,
                settings.seed,
                progress=task(f"{name}: filtering"),
                checkpoint=kept(name),
            )
            scores = score(
                experiment, run.result.saved, run.result.info, twin.truth, comparison.posterior,
                progress=task(f"{name}: scoring"),
            )  # fmt: skip
            comparison.done[name] = Finished(run, scores, analysis)
    return comparison


def _say_diagnoses(comparison: Comparison, console: Console) -> None:
    """Print a line for every filter, and one for all that is wrong with it."""
    for name, finished in comparison.done.items():
        found = finished.run.result.diagnose()
        style = "green" if found.healthy else "yellow"
        console.print(Text(name, style=style).append(f": {found.summary}", style="default"))
        for finding in found.findings:
            console.print(f"  {finding.what}; try: {finding.advice}")


def _table(comparison: Comparison, members: int) -> Table:
    # 80 columns hold it
    table = Table(*COLUMNS, box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, (run, scores, _) in comparison.done.items():
        shown = (scores.w2, scores.energy_score, scores.crps, scores.rmse, scores.spread)
        table.add_row(
            name,
            *(_cell(value) for value in shown),
            _cell(scores.rank_p, digits=2),
            f"{scores.ess:.0f}",
            f"{scores.steps:.1f}",
            f"{run.compile_seconds:.2f}",
            f"{run.run_seconds:.3f}",
        )
    expected = comparison.experiment.expected
    published = [e for e in expected if e.members == members and e.method in comparison.done]
    if published:
        values = ", ".join(f"{e.method} {e.value:g}" for e in published)
        table.caption = f"published {published[0].score} for {members} members: {values}"
        table.caption_justify = "left"
    return table


def _cell(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}g}"
