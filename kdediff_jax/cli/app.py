"""Commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

try:
    import typer
    from rich.table import Table
    from rich.text import Text
except ImportError as error:  # pragma: no cover - needs an environment without the extra
    raise SystemExit('kdediff needs typer and rich: pip install "kdediff_jax[all]"') from error

from .. import __version__
from ..experiments import CATALOGUE, FILTERS, RECOMMENDED
from . import options
from .messages import console, fail, known, reported

app = typer.Typer(
    help="Ensemble filters for data assimilation, closed-form diffusion among them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        print(f"kdediff_jax {__version__}")
        raise typer.Exit


@app.callback()
def kdediff(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Ensemble filters for data assimilation, closed-form diffusion among them."""


@app.command("list")
def list_() -> None:
    """List experiments and filters, the recommended ones first."""
    for title, entries in (("experiment", CATALOGUE), ("filter", FILTERS)):
        table = Table(title, "what it is", box=None, title_justify="left")
        for name, summary in entries.items():
            advice = Text("recommended: " if name in RECOMMENDED else "", style="green")
            table.add_row(Text(name, style="bold"), advice + Text(summary, style="default"))
        console().print(table)


@app.command()
def run(
    experiment: options.Name,
    filter_: options.Filters = None,
    quick: options.Quick = False,
    members: options.Members = None,
    cycles: options.Cycles = None,
    seed: options.Seed = 0,
    x64: options.X64 = False,
    state_bandwidth: options.StateBandwidth = None,
    obs_bandwidth: options.ObsBandwidth = None,
    tau_max: options.TauMax = None,
    start: options.Start = None,
    tolerance: options.Tolerance = None,
    kernel_width: options.KernelWidth = None,
    inflation: options.Inflation = None,
    jitter: Annotated[float | None, typer.Option(help="Of sir: scale of the jitter.")] = None,
    output: options.Output = options.OUTPUT,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Run filters on an experiment; print scores, write a NetCDF file and a PNG.

    A score says how good an ensemble is; what each one means stands below their table. How long it
    will take is said first.

    Leaves with status 1 where a filter failed in more than a tenth of its cycles; the files are
    written then as well.
    """
    known("experiment", experiment, CATALOGUE)
    names = [known("filter", name, FILTERS) for name in filter_ or ()]
    if len(set(names)) < len(names):
        fail(f"--filter: each filter once, got {', '.join(names)}")
    if start is not None:
        known("start", start, options.STARTS)
    files = options.files(output, experiment, force)
    with reported("the same command goes on" if resume else "nothing was written"):
        from .._files import held
        from .run import Settings, run_experiment

        settings = Settings(
            experiment=experiment,
            filters=tuple(names),
            quick=quick,
            members=members,
            cycles=cycles,
            seed=seed,
            x64=x64,
            state_bandwidth=state_bandwidth,
            obs_bandwidth=obs_bandwidth,
            tau_max=tau_max,
            start=start,
            tolerance=tolerance,
            kernel_width=kernel_width,
            inflation=inflation,
            jitter=jitter,
        )
        with held(files[0]):
            run_experiment(settings, *files, force=force, checkpoints=options.kept(files, resume))


@app.command()
def sweep(
    experiment: options.Name,
    filter_: options.Filter = "kde",
    quick: options.Quick = False,
    members: options.Members = None,
    cycles: options.Cycles = None,
    grid: options.Grid = None,
    seeds: options.Seeds = None,
    score: Annotated[
        str | None,
        typer.Option(help="What to minimise (default: sliced_w2, or energy_score without one)."),
    ] = None,
    x64: options.X64 = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Points that run together (default: what fits).")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(help="GiB per device that a batch may take.")
    ] = None,
    output: options.Output = options.OUTPUT,
    force: options.Force = False,
) -> None:
    """Run a filter over a grid of settings and seeds; an interrupted sweep goes on where it was."""
    known("experiment", experiment, CATALOGUE)
    known("filter", filter_, FILTERS)
    axes = dict(options.axis(text) for text in grid or ())
    if len(axes) < len(grid or ()):
        fail("--grid: each axis once")
    name = f"{experiment}-{filter_}-sweep"
    # a sweep that was not cleaned up may replace what it had written, see `run_sweep`
    unfinished = (output / f"{name}{options.PARTIAL}").exists()
    files = options.files(output, name, force or unfinished)
    with reported("the same command goes on from the finished points"):
        from .._files import held
        from .sweep import Settings, run_sweep

        settings = Settings(
            experiment=experiment,
            filter=filter_,
            quick=quick,
            members=members,
            cycles=cycles,
            grid=axes,
            seeds=options.seeds(seeds or ("1000:1002" if quick else "1000:1008")),
            score=score,
            x64=x64,
            batch_size=batch_size,
            memory=None if memory is None else memory * 2**30,
        )
        with held(files[0]):
            run_sweep(settings, *files, force=force)


@app.command()
def plot(
    file: Annotated[
        Path,
        typer.Argument(help="A file that run or sweep wrote.", exists=True, dir_okay=False),
    ],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            "-k",
            help=f"One of {', '.join(options.KINDS)}; repeat for several. Default: all that the "
            "file has what it takes for.",
        ),
    ] = None,
    cycle: Annotated[
        int | None,
        typer.Option(help="Cycle to draw, as numbered in the file; -1 is the last, the default."),
    ] = None,
    variable: Annotated[
        list[str] | None,
        typer.Option(
            "--variable",
            "-v",
            help="A coordinate by name or number, or a field; of a sweep the score. Repeat for "
            "several.",
        ),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", "-f", help="One filter of several (default: all, or the first)."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder, or a name that ends in .png for one kind."),
    ] = None,
    force: options.Force = False,
) -> None:
    """Draw pictures of a result file."""
    names = [known("kind", name, dict.fromkeys(options.KINDS, "")) for name in kind or ()]
    with reported("pictures that are named are written"):
        from .plot import plot_file

        plot_file(
            file,
            names,
            output,
            cycle=cycle,
            variables=variable or (),
            filter_name=filter_,
            force=force,
        )


@app.command()
def reproduce(
    experiment: options.Name,
    quick: options.Quick = False,
    members: Annotated[str | None, typer.Option(metavar="N1,N2,..", help="Ensemble sizes.")] = None,
    output: options.Output = options.OUTPUT,
) -> None:
    """Make the paper's table again: filters tuned on some seeds, scored on others, every size."""
    known("experiment", experiment, CATALOGUE)
    sizes = options.sizes(members)
    from ..results import prepare_output

    with reported("the same command goes on from the finished ensemble sizes"):
        path = prepare_output(output / f"{experiment}{'-quick' * quick}.json", force=True)
        from .._files import held
        from .reproduce import run_reproduction

        with held(path):
            run_reproduction(experiment, sizes, path, quick=quick)
