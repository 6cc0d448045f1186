"""What the index knows of a benchmark."""

from __future__ import annotations

from typing import NamedTuple

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


def paper_table(name: str, picture: str, takes: str) -> Benchmark:
    """Return the entry of one of the paper's tables."""
    return Benchmark(
        name,
        f"kdediff reproduce {name} --output benchmarks/results",
        f"How do the paper's method and the classical filters, all tuned, do on {picture}?",
        takes,
        (f"{name}.json", f"{name}.md"),
        PAPER,
    )
