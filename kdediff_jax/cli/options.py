"""The options that commands share, and how their texts are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from ..experiments import CATALOGUE, FILTERS
from .messages import fail


def completing(entries: Mapping[str, str]) -> Callable[[str], Iterator[tuple[str, str]]]:
    """Return what gives the shell the names that go on from what was typed, with their help."""

    def complete(incomplete: str) -> Iterator[tuple[str, str]]:
        yield from ((name, text) for name, text in entries.items() if name.startswith(incomplete))

    return complete


COMPLETE_FILTER = completing(FILTERS)
Name = Annotated[
    str,
    typer.Argument(help="An experiment; see `kdediff list`.", autocompletion=completing(CATALOGUE)),
]
Members = Annotated[
    int | None,
    typer.Option("--members", "-n", min=2, help="Ensemble size (default: 250; quick: 50)."),
]
Filter = Annotated[
    str, typer.Option("--filter", "-f", help="A filter.", autocompletion=COMPLETE_FILTER)
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        "-f",
        autocompletion=COMPLETE_FILTER,
        help="A filter; repeat for several. Default: the recommended one, kde, enkf (letkf where "
        "the experiment has a localisation) and sir.",
    ),
]
Quick = Annotated[
    bool,
    typer.Option("--quick", help="Small sizes, for a look: two minutes at most on two cores."),
]
Cycles = Annotated[
    int | None, typer.Option("--cycles", min=1, help="Cycles (default: the experiment's).")
]
X64 = Annotated[
    bool, typer.Option("--x64", help="Compute in float64 (JAX_ENABLE_X64 does not decide it).")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the results and the picture or tables.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace existing files.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Keep finished cycles in OUTPUT/EXPERIMENT.checkpoints, and go on from those of an "
        "interrupted run with this option. Removed when the run is complete.",
    ),
]
OUTPUT = Path("kdediff-results")
MEMBERS = 250
CHECKPOINTS = ".checkpoints"  # ends the name of the folder with a run's finished cycles
PARTIAL = ".partial.npz"  # ends the name of the file with a sweep's finished points
KINDS = (  # of `plots.draw`; here, since help must not load JAX
    *("trajectory", "ensemble", "marginals", "map", "rank", "spread", "innovation", "effort"),
    *("diagnostics", "heat-map"),
)
LAST_SEED = 2**32 - 1  # JAX's keys in float32 take the rest modulo 2**32: seeds would repeat
LAST_SWEPT_SEED = 2**31 - 1  # an axis of a sweep is int32
MOST_SEEDS = 1_000_000


def sizes(text: str | None) -> tuple[int, ...] | None:
    """Return the ensemble sizes of N1,N2,.."""
    if text is None:
        return None
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 2:
        fail(f"--members: expected sizes of 2 or more with commas, got {text!r}")
    return found


def axis(text: str) -> tuple[str, tuple[float, ...]]:
    """Return the name and the values of NAME=V1,V2,.."""
    name, _, values = text.partition("=")
    try:
        return name.strip().replace("-", "_"), tuple(float(v) for v in values.split(","))
    except ValueError:
        fail(f"--grid: expected NAME=V1,V2,.. with numbers, got {text!r}")


def seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of FIRST:LAST or of a list with commas."""
    first, colon, last = text.partition(":")
    try:
        found = range(int(first), int(last)) if colon else [int(part) for part in text.split(",")]
        if 0 < len(found) <= MOST_SEEDS and 0 <= min(found) <= max(found) <= LAST_SWEPT_SEED:
            return tuple(found)
    except (ValueError, OverflowError):  # the second: a range longer than a machine word counts
        pass
    fail(
        f"--seeds: expected FIRST:LAST or a list with commas, from 0 to {LAST_SWEPT_SEED} and at "
        f"most {MOST_SEEDS} of them, got {text!r}"
    )


def files(folder: Path, name: str, force: bool) -> tuple[Path, Path]:
    """Return the two files of a run, checked before anything is computed."""
    from ..results import prepare_output

    try:
        result = prepare_output(folder / f"{name}.nc", force=force)
        return result, prepare_output(folder / f"{name}.png", force=force)
    except OSError as error:
        fail(str(error))


def kept(files: tuple[Path, Path], resume: bool) -> Path | None:
    """Return the folder of a run's checkpoints, if it is to have any."""
    return files[0].with_suffix(CHECKPOINTS) if resume else None


StateBandwidth = Annotated[
    float | None, typer.Option(help="Of kde: kernel width in the state's units.")
]
ObsBandwidth = Annotated[
    float | None, typer.Option(help="Of kde: kernel width in the measurement's units.")
]
TauMax = Annotated[
    float | None, typer.Option(help="Of kde: start of the reverse flow (default: 5 spreads).")
]
Tolerance = Annotated[
    float | None,
    typer.Option(help="Of kde: tolerance of the reverse flow's solver (default 2e-2)."),
]
KernelWidth = Annotated[
    float | None,
    typer.Option(help="Of enkpf and lenkpf: kernel width, in units of the ensemble's spread."),
]
Inflation = Annotated[
    float | None, typer.Option(help="Of enkf, etkf and letkf: factor of the anomalies.")
]
STARTS = {"matched": "at the forecast's own spread", "prior": "at tau_max, as the paper"}
Start = Annotated[
    str | None,
    typer.Option(
        help='Of kde: "matched" (the default) or "prior" (the paper\'s).',
        autocompletion=completing(STARTS),
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, max=LAST_SEED, help="Seed of truth, measurements, filters.")
]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="FIRST:LAST",
        help="Seeds, FIRST to LAST - 1, or a list (default: 1000:1008; quick: 1000:1002).",
    ),
]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        "-g",
        metavar="NAME=V1,V2,..",
        help="An axis: state_bandwidth, obs_bandwidth or tau_max of kde, kernel_width of enkpf, "
        "inflation, rotation_angle or jitter; repeat for several, the one that decides the number "
        "of solver steps first. Default: the experiment's grid.",
    ),
]
