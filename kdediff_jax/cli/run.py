"""`kdediff run`: filters with progress, a table, a NetCDF file and a picture."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import experiments, plots
from .._words import counted, listed
from ..analysis.base import AbstractAnalysis
from ..experiments import costs
from ..experiments import quick as quickness
from ..experiments import run as running
from ..experiments.experiment import Experiment
from ..experiments.filters import Setting, settings_of
from ..experiments.scores import score
from ..long_runs import remove_checkpoint
from ..samplers import ProbabilityFlow, per_member_pid
from ..schedules import VarianceExploding
from ..sweeping.program import available_cores
from .messages import console as new_console
from .messages import say
from .options import MEMBERS
from .progress import board
from .run_files import Comparison, Finished, drawn, write
from .tables import show

FILTER_OPTIONS = ("state_bandwidth", "obs_bandwidth", "kernel_width", "inflation", "jitter")
FLOW_OPTIONS = ("tau_max", "start", "tolerance")  # of the sampler of `kde`
TOLERATED = 0.1  # share of failed cycles that the exit status does not tell
COLUMNS = (
    *("filter", "W2", "energy", "CRPS", "RMSE", "spread", "rank p", "ESS", "steps"),
    *("compile s", "run s"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of one run; what is None or empty is the experiment's, or that of `quick`."""

    experiment: str
    filters: tuple[str, ...]
    quick: bool
    members: int | None
    cycles: int | None
    seed: int
    x64: bool
    state_bandwidth: float | None
    obs_bandwidth: float | None
    tau_max: float | None
    start: str | None
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
    experiment, settings = _completed(settings)
    filters = _filters(experiment, settings)
    console = new_console()
    comparison = _run(experiment, settings, filters, console, checkpoints)
    show(console, _table(comparison, settings.members or 0), COLUMNS)
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
        of_all = counted(cycles, "cycle")
        raise RuntimeError(f"of {of_all} failed {', '.join(many)}; the files are written")


def _completed(settings: Settings) -> tuple[Experiment, Settings]:
    """Return the experiment, and the options with every default filled in."""
    experiment = experiments.load(settings.experiment)
    experiment = quickness.quick(experiment) if settings.quick else experiment
    return experiment, dataclasses.replace(
        settings,
        filters=settings.filters or experiment.default_filters,
        members=settings.members or (quickness.MEMBERS if settings.quick else MEMBERS),
        cycles=settings.cycles or experiment.num_cycles,
    )


def _options_of(name: str) -> tuple[str, ...]:
    """Return the options that a filter uses."""
    own = tuple(option for option in FILTER_OPTIONS if option in settings_of(name))
    return own + (FLOW_OPTIONS if name == "kde" else ())


def _refuse_unused(settings: Settings) -> None:
    """Raise ValueError for an option that none of the filters uses."""
    for option in (*FILTER_OPTIONS, *FLOW_OPTIONS):
        used = any(option in _options_of(name) for name in settings.filters)
        if getattr(settings, option) is not None and not used:
            have = [f"{name} has {_as_options(_options_of(name))}" for name in settings.filters]
            who = "is used by none of the filters" if len(have) > 1 else "is not used by"
            raise ValueError(
                f"{_as_options((option,))} {who} {listed(settings.filters)}: {'; '.join(have)}"
            )


def _as_options(names: tuple[str, ...]) -> str:
    return listed([f"--{name.replace('_', '-')}" for name in names]) if names else "none to set"


def _filters(experiment: Experiment, settings: Settings) -> dict[str, AbstractAnalysis]:
    """Return the filters by name, each with those of the options that it uses."""
    _refuse_unused(settings)
    values = ((name, getattr(settings, name)) for name in FILTER_OPTIONS)
    given: dict[str, Setting] = {name: value for name, value in values if value is not None}
    flow = _flow(settings)
    filters = {}
    for name in settings.filters:
        own = {option: value for option, value in given.items() if option in settings_of(name)}
        own |= {"sampler": flow} if name == "kde" else {}
        filters[name] = experiment.filter(name, settings.members or 0, **own)
    return filters


def _flow(settings: Settings) -> ProbabilityFlow:
    """Return the sampler of `kde`.

    Raises:
        ValueError: a number out of range.
    """
    flow = ProbabilityFlow(start=settings.start or "matched")
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
    """Run and score every filter, with progress."""
    kept = (lambda name: None) if checkpoints is None else checkpoints.joinpath
    members, cycles = settings.members or 0, settings.cycles or 0  # all are filled in here
    dtype = jnp.dtype(jnp.float64 if settings.x64 else jnp.float32)
    console.print(
        Text(experiment.name, style="bold").append(f": {experiment.summary}\n", style="not bold")
        + f"{counted(cycles, 'cycle')}, {members} members, seed {settings.seed}, {dtype.name} on "
        f"{jax.devices()[0].device_kind}"
    )
    _say_costs(experiment, settings, console)
    twin = experiment.twin(settings.seed, members, cycles, dtype)
    with board(console) as shown:
        comparison = Comparison(experiment, twin, None, {})
        if experiment.exact or experiment.reference_particles:
            report = shown.task("reference posterior", cycles)
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
                progress=shown.task(f"{name}: filtering", cycles),
                checkpoint=kept(name),
            )
            scored = cycles - min(experiment.burn_in, cycles - 1)
            scores, by_cycle = score(
                experiment, run.result.saved, run.result.info, twin.truth, comparison.posterior,
                progress=shown.task(f"{name}: scoring", scored),
            )  # fmt: skip
            comparison.done[name] = Finished(run, scores, analysis, by_cycle)
    return comparison


def _say_costs(experiment: Experiment, settings: Settings, console: Console) -> None:
    """Say how long it will take, and what costs more than one might think.

    Raises:
        ValueError: it takes more memory than there is.
    """
    members, cycles = settings.members or 0, settings.cycles or 0
    found = costs.cost(experiment, settings.filters, members, cycles, available_cores())
    once = costs.duration(found.compiling)
    on = " on idle cores"
    if jax.devices()[0].platform != "cpu":
        on = " on a CPU of two cores, here less"
    say(f"takes about {costs.duration(found.seconds)}{on}, {once} of it to compile, once", console)
    for warning in costs.dear(settings.filters, members, len(experiment.coordinates)):
        say(Text("slow", style="yellow").append(f": {warning}", style="default"), console)
    there = memory_there()
    if found.memory > there:
        raise ValueError(
            f"--members: {members} members over {counted(cycles, 'cycle')} take about "
            f"{found.memory / 2**30:.0f} GiB of memory, of which there are {there / 2**30:.0f}"
        )


def memory_there() -> float:
    """Return the bytes of this machine's memory, infinity where it does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not on Windows
        return math.inf


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
    for name, (run, scores, *_) in comparison.done.items():
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
