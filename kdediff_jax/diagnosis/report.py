"""What a diagnosis is made of, and how it prints."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from .._words import counted


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: its name, such as "under-dispersed".
        what: a sentence with its numbers.
        figure: the number that tells.
        expected: what it is (or what bounds it) in a healthy run.
        advice: what to try.
        runs: indices of the runs of a batch that it concerns, the first of which `what` describes;
            empty for a single run.
    """

    kind: str
    what: str
    figure: float
    expected: float
    advice: str
    runs: tuple[tuple[int, ...], ...] = ()


@dataclasses.dataclass(frozen=True, repr=False)
class Diagnosis:
    """What `diagnose` found; it prints as text.

    Attributes:
        findings: what is wrong, worst kind first; empty for a healthy run.
        cycles, members, runs: size of what was looked at.
        innovation: mean normalised innovation over all cycles, but for those of rejected or absurd
            measurements; NaN where no cycle has one.
        innovation_error: its standard error.
        ess: median effective sample size.
    """

    findings: tuple[Finding, ...]
    cycles: int
    members: int
    runs: int
    innovation: float
    innovation_error: float
    ess: float

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of what was found."""
        return tuple(finding.kind for finding in self.findings)

    @property
    def summary(self) -> str:
        """One line: the names of what was found, and the figures that every run has."""
        error = "" if math.isnan(self.innovation_error) else f" ± {self.innovation_error:.2g}"
        figures = f"effective sample size {self.ess:.3g} of {self.members}"
        if not math.isnan(self.innovation):
            figures = f"normalised innovation {self.innovation:.3g}{error}, expected 1; {figures}"
        return f"{', '.join(self.kinds) or 'healthy'} ({figures})"

    def __str__(self) -> str:
        size = counted(self.cycles, "cycle") + (f" of {self.runs} runs" if self.runs > 1 else "")
        lines = [f"{size}: {self.summary}"]
        for found in self.findings:
            lines += [f"  {found.kind}: {_where(found, self.runs)}{found.what}"]
            lines += [f"    try: {found.advice}"]
        return "\n".join(lines)

    __repr__ = __str__  # an interactive session shows this one


def _where(found: Finding, runs: int) -> str:
    if not found.runs:
        return ""
    index = ", ".join(map(str, found.runs[0]))
    return f"{len(found.runs)} of {runs} runs, the first run {index}: "
