"""Commands and their options."""

from __future__ import annotations

import difflib
import sys
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
        float | None, typer.Option(help="Tolerance of the reverse flow's solver.")
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
    try:
        run_experiment(settings, *files, force=force)
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        fail(str(error))


def _files(folder: Path, experiment: str, force: bool) -> tuple[Path, Path]:
    """Return the two files of a run, checked before anything is computed."""
    from ..results import prepare_output

    try:
        result = prepare_output(folder / f"{experiment}.nc", force=force)
        return result, prepare_output(folder / f"{experiment}.png", force=force)
    except OSError as error:
        fail(str(error))


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was written")
        sys.exit(130)
