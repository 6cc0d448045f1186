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

from benchmarks.entries import BENCHMARKS
from benchmarks.entry import ABLATION, PAPER, UNTUNED, Benchmark

__all__ = ["ABLATION", "BENCHMARKS", "PAPER", "ROOT", "UNTUNED", "Benchmark"]

ROOT = Path(__file__).parents[1]


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
