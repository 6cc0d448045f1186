"""Commands and their options."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

try:
    import typer
    from rich.console import Console
    from rich.table import Table
except ImportError as error:  # pragma: no cover - needs an environment without the extra
    raise SystemExit('kdediff needs typer and rich: pip install "kdediff_jax[all]"') from error

from .. import __version__
from ..experiments import CATALOGUE, FILTERS

app = typer.Typer(
    help="Closed-form conditional diffusion filters for data assimilation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
errors = Console(stderr=True)
DEFAULT_FILTERS = ["kde", "enkf", "sir"]


def fail(message: str) -> NoReturn:
    """Print an error and leave with status 2; nothing has been written."""
    errors.print(f"[bold red]error[/]: {message}", highlight=False, soft_wrap=True)
    raise typer.Exit(2)


@contextlib.contextmanager
def reported(interrupted: str = "nothing was written") -> Iterator[None]:
    """Turn what a user can mend, and an interrupt, into a message and an exit status."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        errors.print(f"interrupted; {interrupted}")
        raise typer.Exit(130) from None


def known(kind: str, value: str, options: dict[str, str]) -> str:
    """Return `value` if it is an option, else fail and suggest the nearest."""
    if value in options:
        return value
    near = difflib.get_close_matches(value, options, n=1, cutoff=0.4)
    hint = f" Did you mean [bold]{near[0]}[/]?" if near else ""
    fail(f"unknown {kind} {value!r}.{hint} Known: {', '.join(options)}")


def _version(show: bool) -> None:
    if show:
        print(f"kdediff_jax {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Closed-form conditional diffusion filters for data assimilation."""


@app.command("list")
def list_() -> None:
    """List experiments and filters."""
    for title, entries in (("experiment", CATALOGUE), ("filter", FILTERS)):
        table = Table(title, "what it is", box=None, title_justify="left")
        for name, summary in entries.items():
            table.add_row(f"[bold]{name}[/]", summary)
        Console().print(table)


@app.command()
def run(
    experiment: Annotated[str, typer.Argument(help="An experiment; see `kdediff list`.")],
    filter_: Annotated[
        list[str] | None,
        typer.Option("--filter", "-f", help="A filter; repeat for several. Default: kde enkf sir."),
    ] = None,
    members: Annotated[int, typer.Option("--members", "-n", min=2, help="Ensemble size.")] = 250,
    cycles: Annotated[
        int | None, typer.Option("--cycles", min=1, help="Cycles (default: the experiment's).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of truth, measurements, filters.")] = 0,
    x64: Annotated[bool, typer.Option("--x64", help="Compute in float64.")] = False,
    state_bandwidth: Annotated[
        float | None, typer.Option(help="Kernel width in the state's units.")
    ] = None,
    obs_bandwidth: Annotated[
        float | None, typer.Option(help="Kernel width in the measurement's units.")
    ] = None,
    tau_max: Annotated[
        float | None, typer.Option(help="Start of the reverse flow (default: 5 spreads).")
    ] = None,
    start: Annotated[str, typer.Option(help='"matched" or "prior" (the paper\'s).')] = "matched",
    tolerance: Annotated[
        float | None, typer.Option(help="Tolerance of the reverse flow's solver (default 2e-2).")
    ] = None,
    inflation: Annotated[float | None, typer.Option(help="EnKF inflation.")] = None,
    jitter: Annotated[float | None, typer.Option(help="SIR jitter.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the result and the picture.")
    ] = Path("kdediff-results"),
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Run filters on an experiment; print scores, write a NetCDF file and a PNG."""
    known("experiment", experiment, CATALOGUE)
    names = [known("filter", name, FILTERS) for name in filter_ or DEFAULT_FILTERS]
    if len(set(names)) < len(names):
        fail(f"--filter: each filter once, got {', '.join(names)}")
    known("start", start, {"matched": "", "prior": ""})
    files = _files(output, experiment, force)

    from .run import Settings, run_experiment

    settings = Settings(
        experiment=experiment,
        filters=tuple(names),
        members=members,
        cycles=cycles,
        seed=seed,
        x64=x64,
        state_bandwidth=state_bandwidth,
        obs_bandwidth=obs_bandwidth,
        tau_max=tau_max,
        start=start,
        tolerance=tolerance,
        inflation=inflation,
        jitter=jitter,
    )
    with reported():
        run_experiment(settings, *files, force=force)


@app.command()
def sweep(
    experiment: Annotated[str, typer.Argument(help="An experiment; see `kdediff list`.")],
    filter_: Annotated[str, typer.Option("--filter", "-f", help="A filter.")] = "kde",
    members: Annotated[int, typer.Option("--members", "-n", min=2, help="Ensemble size.")] = 250,
    cycles: Annotated[
        int | None, typer.Option("--cycles", min=1, help="Cycles (default: the experiment's).")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            "-g",
            metavar="NAME=V1,V2,..",
            help="An axis: state_bandwidth, obs_bandwidth, tau_max, inflation or jitter; repeat "
            "for several, the one that decides the number of solver steps first. Default: the "
            "experiment's grid.",
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="FIRST:LAST", help="Seeds, FIRST to LAST - 1, or a list.")
    ] = "1000:1008",
    score: Annotated[
        str | None,
        typer.Option(help="What to minimise (default: sliced_w2, or energy_score without one)."),
    ] = None,
    x64: Annotated[bool, typer.Option("--x64", help="Compute in float64.")] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Points that run together (default: what fits).")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(help="GiB per device that a batch may take.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the result and the picture.")
    ] = Path("kdediff-results"),
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Run a filter over a grid of settings and seeds; an interrupted sweep goes on where it was."""
    known("experiment", experiment, CATALOGUE)
    known("filter", filter_, FILTERS)
    axes = dict(_axis(text) for text in grid or ())
    if len(axes) < len(grid or ()):
        fail("--grid: each axis once")
    files = _files(output, f"{experiment}-{filter_}-sweep", force)

    from .sweep import Settings, run_sweep

    settings = Settings(
        experiment=experiment,
        filter=filter_,
        members=members,
        cycles=cycles,
        grid=axes,
        seeds=_seeds(seeds),
        score=score,
        x64=x64,
        batch_size=batch_size,
        memory=None if memory is None else memory * 2**30,
    )
    with reported("the same command goes on from the finished points"):
        run_sweep(settings, *files, force=force)


@app.command()
def reproduce(
    experiment: Annotated[str, typer.Argument(help="An experiment; see `kdediff list`.")],
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, for a look.")] = False,
    members: Annotated[str | None, typer.Option(metavar="N1,N2,..", help="Ensemble sizes.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the record and the tables.")
    ] = Path("kdediff-results"),
) -> None:
    """Make the paper's table again: filters tuned on some seeds, scored on others, every size."""
    known("experiment", experiment, CATALOGUE)
    sizes = _sizes(members)
    from ..results import prepare_output

    with reported("the same command goes on from the finished ensemble sizes"):
        path = prepare_output(output / f"{experiment}{'-quick' * quick}.json", force=True)
        from ..experiments.reproduction import Plan
        from .reproduce import run_reproduction

        plan = Plan.quick() if quick else Plan()
        run_reproduction(experiment, plan.of_members(sizes), path)


def _sizes(text: str | None) -> tuple[int, ...] | None:
    try:
        sizes = None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if sizes is not None and (not sizes or min(sizes) < 2):
        fail(f"--members: expected sizes of 2 or more with commas, got {text!r}")
    return sizes


def _axis(text: str) -> tuple[str, tuple[float, ...]]:
    """Return the name and the values of NAME=V1,V2,.."""
    name, _, values = text.partition("=")
    try:
        return name.strip().replace("-", "_"), tuple(float(v) for v in values.split(","))
    except ValueError:
        fail(f"--grid: expected NAME=V1,V2,.. with numbers, got {text!r}")


def _seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of FIRST:LAST or of a list with commas."""
    try:
        if ":" in text:
            first, last = (int(part) for part in text.split(":"))
            found = tuple(range(first, last))
        else:
            found = tuple(int(part) for part in text.split(","))
        if found and min(found) >= 0:
            return found
    except ValueError:
        pass
    fail(f"--seeds: expected FIRST:LAST or a list with commas, 0 or more, got {text!r}")


def _files(folder: Path, name: str, force: bool) -> tuple[Path, Path]:
    """Return the two files of a run, checked before anything is computed."""
    from ..results import prepare_output

    try:
        result = prepare_output(folder / f"{name}.nc", force=force)
        return result, prepare_output(folder / f"{name}.png", force=force)
    except OSError as error:
        fail(str(error))


def keep_programs() -> None:
    """Let JAX keep compiled programs on disk from one command to the next.

    JAX's own variables have the last word: `JAX_COMPILATION_CACHE_DIR` says where, and
    `JAX_ENABLE_COMPILATION_CACHE=false` switches it off. It reads them when it is imported.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdediff"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))


def main() -> None:
    """Run the command line."""
    keep_programs()
    try:
        app()
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was written")
        sys.exit(130)
