"""The benchmarks: what each asks, how long it takes, what it writes, where its result is read.

    python benchmarks/index.py                  lists them
    python benchmarks/index.py NAME [ARGS ...]  runs one, as `make bench NAME=.. BENCH_ARGS=..` does

`benchmarks/README.md` has the same list as a table.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
UNTUNED = "The untuned filter against tuned classical filters"
PAPER = "The paper's tables"
ABLATION = "What each part of the filter is worth"


class Benchmark(NamedTuple):
    """One benchmark.

    Attributes:
        name: what `make bench NAME=` calls it.
        runs: a script in `benchmarks`, or a command of `kdediff`.
        question: what it answers.
        takes: how long, on two CPU cores unless a GPU is named.
        writes: its files in `benchmarks/results`.
        section: of RESULTS.md (which has everything), or where else its result is read.
    """

    name: str
    runs: str
    question: str
    takes: str
    writes: tuple[str, ...]
    section: str

    @property
    def command(self) -> str:
        """The plain command, from the checkout."""
        return self.runs if self.runs.startswith("kdediff ") else f"python benchmarks/{self.runs}"


def _paper(name: str, picture: str, takes: str) -> Benchmark:
    """Return the entry of one of the paper's tables."""
    return Benchmark(
        name,
        f"kdediff reproduce {name} --output benchmarks/results",
        f"How do the paper's method and the classical filters, all tuned, do on {picture}?",
        takes,
        (f"{name}.json", f"{name}.md"),
        PAPER,
    )


BENCHMARKS = (
    Benchmark(
        "untuned",
        "accuracy/untuned.py",
        "Is the untuned filter as good as the best-tuned EnKF, SIR and LETKF, and as what others "
        "publish?",
        "a day",
        ("untuned.json",),
        f"{UNTUNED}; README's table",
    ),
    Benchmark(
        "reference_symmetry",
        "accuracy/reference_symmetry.py",
        "How good is the reference posterior of lorenz63-z, and what would perfect draws score?",
        "10 min",
        ("reference_symmetry.json",),
        "How good the reference of lorenz63-z is",
    ),
    _paper("lorenz63-z", "Lorenz-63 with z alone measured", "half a day"),
    _paper("lorenz96-10", "Lorenz-96 in 10 dimensions", "half a day"),
    _paper("lorenz96-20", "Lorenz-96 in 20 dimensions", "half a day"),
    Benchmark(
        "picture",
        "kdediff run lorenz63-z --output benchmarks/results --force",
        "Which filters keep the two modes of lorenz63-z?",
        "1 min",
        ("lorenz63-z.png",),
        "README's picture",
    ),
    Benchmark(
        "rank_histograms",
        "accuracy/rank_histograms.py",
        "Are the untuned filter's ensembles honest: does the truth look like one more member?",
        "30 min",
        ("rank_histograms.json",),
        "Rank histograms",
    ),
    Benchmark(
        "ablation",
        "ablation/ablation.py",
        "What is each part of the untuned filter worth, switched off or moved one at a time?",
        "2 h; a set of variants 15 min",
        (
            *("ablation.json", "ablation_again.json", "ablation_doubt.json"),
            "ablation_lost.json",
            # the last two of an earlier state of the filter, with parts that are gone
            *("ablation_undoubted.json", "ablation_head.json", "ablation_factorial.json"),
        ),
        ABLATION,
    ),
    Benchmark(
        "lost_neighbourhoods",
        "accuracy/lost_neighbourhoods.py",
        "Does a localised filter find a large field again where it is lost in places?",
        "8 min (with --quick 1 min)",
        ("lost_neighbourhoods.json",),
        "Lost neighbourhoods",
    ),
    Benchmark(
        "state_noise",
        "accuracy/state_noise.py",
        "What do filters learn that can only simulate, where noise depends on the state?",
        "10 min",
        ("state_noise.json",),
        "Noise that depends on the state",
    ),
    Benchmark(
        "quantised",
        "accuracy/quantised.py",
        "What do filters make of coarse, saturating sensors that can only be simulated, and what "
        "with the density?",
        "5 min",
        ("quantised.json",),
        "A target seen by coarse sensors",
    ),
    Benchmark(
        "parameters",
        "accuracy/parameters.py",
        "Are parameters found from a wrong start, beside the state, and with honest intervals?",
        "10 min",
        ("parameters.json",),
        "State and parameters together",
    ),
    Benchmark(
        "local_published",
        "accuracy/local_published.py",
        "Is the untuned localised filter as good as the tuned LETKF that others publish on fields?",
        "40 min",
        ("local_published.json",),
        "Fields of others, untuned",
    ),
    Benchmark(
        "latents",
        "accuracy/latents.py",
        "What do low-variance latents and component draws gain?",
        "10 min",
        ("latents.json",),
        "Low-variance draws",
    ),
    Benchmark(
        "bandwidth_rules",
        "accuracy/bandwidth_rules.py",
        "How good is the paper's kernel with bandwidths by rule, and with replicates?",
        "20 min",
        ("bandwidth_rules.json",),
        "The paper's kernel: tuned, scale-free, by rule",
    ),
    Benchmark(
        "rules",
        "speed/rules.py",
        "What does a rule for a bandwidth cost, and the untuned filter, beside fixed bandwidths?",
        "2 min",
        ("rules.json",),
        "What a rule costs",
    ),
    Benchmark(
        "solvers",
        "speed/solvers.py",
        "Which solver and tolerance of the flow is accurate enough with the fewest evaluations?",
        "5 min",
        ("solvers.json",),
        "Solver and tolerance",
    ),
    Benchmark(
        "sweep_grid",
        "speed/sweep_grid.py",
        "How long does the author's whole Lorenz-63 grid take as one sweep, and what does running "
        "in lockstep cost?",
        "5 min (with --quick 2 min); 1 min on a GPU",
        ("sweep_grid.json", "sweep_grid.png", "sweep_grid_gpu.json"),
        "A whole grid as one sweep",
    ),
    Benchmark(
        "analysis_cost",
        "speed/analysis_cost.py",
        "How much faster is one analysis by the flow than SciPy on the same ODE?",
        "2 min",
        ("analysis_cost.json",),
        "Speed",
    ),
    Benchmark(
        "kernel_weights",
        "speed/kernel_weights.py",
        "How far is the O(N²) core from the chip's floor, and from the dense expression and "
        "PyKeOps?",
        "10 min",
        ("kernel_weights.json", "kernel_weights.png"),
        "The pairwise core",
    ),
    Benchmark(
        "million",
        "speed/million.py",
        "Does one evaluation with a million members fit into memory, and how long does it take?",
        "7 min",
        ("million.json",),
        "A million members",
    ),
    Benchmark(
        "fused_kernel",
        "speed/fused_kernel.py",
        "What does the fused GPU kernel gain over the tiles and the dense expression?",
        "a few minutes on a GPU; with --rehearse 1 min anywhere",
        ("fused_kernel.json",),
        "The fused kernel on a GPU",
    ),
    Benchmark(
        "gpu_runs",
        "speed/gpu_runs.py",
        "How long do whole filtering runs take on a GPU, and on the CPU cores beside it?",
        "5 min on a GPU; with --rehearse 3 min anywhere",
        ("gpu_runs.json",),
        "Whole runs on a GPU",
    ),
    Benchmark(
        "decompositions",
        "speed/decompositions.py",
        "Do rotations find the singular values of stacks faster than the GPU's library?",
        "2 min on a GPU; with --rehearse seconds anywhere",
        ("decompositions.json",),
        "Singular values of stacks on a GPU",
    ),
    Benchmark(
        "gpu_programs",
        "speed/gpu_programs.py",
        "Does a whole run on a GPU call the host, or multiply below full precision?",
        "2 min on a GPU; with --rehearse 1 min anywhere",
        ("gpu_programs.json",),
        "Whole runs as programs of a GPU",
    ),
    Benchmark(
        "gpu_compiled",
        "speed/gpu_compiled.py",
        "What does the compiler make of the core for an H100 (no GPU needed)?",
        "1 min",
        ("gpu_compiled.json",),
        "Compiled for a GPU, not run on one",
    ),
    Benchmark(
        "far_tiles",
        "speed/far_tiles.py",
        "Would skipping far tiles pay?",
        "10 min",
        ("far_tiles.json",),
        "Skipping far tiles: measured, not kept",
    ),
    Benchmark(
        "large_states",
        "speed/large_states.py",
        "Do time and memory of a localised analysis grow with the state alone, to a million?",
        "20 min (with --quick 1 min)",
        ("large_states.json", "large_states.png"),
        "Large states",
    ),
    Benchmark(
        "local_options",
        "speed/local_options.py",
        "What do fewer points of analysis save and cost, and can correlations replace distances?",
        "15 min (with --quick 2 min)",
        ("local_options.json",),
        "Options of a localisation",
    ),
    Benchmark(
        "scaling",
        "speed/scaling.py",
        "Do members spread over devices or processes give the same numbers?",
        "2 min",
        ("scaling.json",),
        "Several devices and processes",
    ),
    Benchmark(
        "rival_filters",
        "speed/rival_filters.py",
        "How fast are our EnKF, SIR and LETKF beside cuthbert's and DAPPER's?",
        "6 min",
        ("rival_filters.json",),
        "Filters beside cuthbert's and DAPPER's",
    ),
    Benchmark(
        "compile_times",
        "speed/compile_times.py",
        "How long does each scheme, and a gradient through it, take to trace, lower and compile?",
        "10 min",
        ("compile_times.json",),
        "What compiling costs",
    ),
)


def find(name: str) -> Benchmark:
    """Return a benchmark by name.

    Raises:
        ValueError: there is none; says which there are.
    """
    named = {b.name: b for b in BENCHMARKS}
    if name not in named:
        raise ValueError(f"no benchmark {name!r}; there are {', '.join(named)}")
    return named[name]


def listing() -> str:
    """Return one line for each benchmark."""
    wide = max(len(b.name) for b in BENCHMARKS)
    return "\n".join(f"{b.name:{wide}}  {b.question} ({b.takes})" for b in BENCHMARKS)


def call(benchmark: Benchmark, arguments: list[str]) -> int:
    """Run a benchmark from the root of the checkout, and return its exit status."""
    program, *rest = shlex.split(benchmark.command)
    start = [sys.executable] if program == "python" else [sys.executable, "-m", "kdediff_jax"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.call(
        [*start, *rest, *arguments], cwd=ROOT, env=os.environ | {"PYTHONPATH": path}
    )


def main(arguments: list[str]) -> int:
    """List the benchmarks or run one."""
    if not arguments:
        print(listing())
        return 0
    try:
        return call(find(arguments[0]), arguments[1:])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
