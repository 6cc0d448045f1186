"""How long a run takes, roughly: counted work times constants measured on two cores of a CPU.

A cycle's seconds are those of its analysis, by filter, and of stepping the members; see "What a
rule costs" in `benchmarks/RESULTS.md` for the measurements. Right within a factor of three on a
laptop; slower machines and busy ones take longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from .experiment import Experiment
from .plan import Plan
from .scores import compared_draws

SUBSTEP = 4e-9  # seconds a coordinate and substep of the model
CUBIC, PAIR = 2.8e-7, 1.5e-8  # seconds a coordinate^3, a pair
LOCAL = 2.4e-6  # seconds a coordinate and member, with some 30 measurements within reach
TRANSPORT = 2e-7  # seconds of exact W2 a member and reference draw
MATRIX = 8  # bytes of exact W2 a member and reference draw


class Size(NamedTuple):
    """Members N and coordinates d."""

    members: int
    d: int


def _untuned(size: Size) -> float:
    return 2e-3 + 2e-8 * size.members**2 + CUBIC * size.d**3


def _local(size: Size) -> float:
    return 1e-3 + LOCAL * size.d * size.members


def _flow(size: Size) -> float:
    return 6e-4 + PAIR * size.members**2 * (1 + size.d / 40)


def _cheap(size: Size) -> float:
    return 5e-4 + 2e-7 * size.members * size.d


ANALYSIS: dict[str, Callable[[Size], float]] = {
    "enkpf": _untuned,
    "lenkpf": _local,
    "kde": _flow,
    "kde-sde": lambda size: 3 * _flow(size),
    "kde-mixture": _cheap,
    "enkf": _cheap,
    "enkf-pairs": _cheap,
    "etkf": _cheap,
    "letkf": _local,
    "sir": _cheap,
}
COMPILING = {"enkpf": 14.0, "lenkpf": 14.0, "kde": 6.0, "kde-sde": 5.0}  # seconds; others:
COMPILING_OTHERS = 4.0
# of a reproduction: programs, lines with exact W2, and flows that its lines cost: the paper's
# sampler at its tolerance takes as long as eight
PROGRAMS, LINES, FLOW_LINES = 13, 11, 10
TOGETHER = 2.0  # points of a batch wait for the slowest, and are scored


class Cost(NamedTuple):
    """Seconds and bytes that a comparison of filters takes, roughly.

    Attributes:
        compiling: seconds until programs are there, the first time.
        running: seconds of the runs, of the reference posterior and of the scores.
        cycle: seconds of one cycle, by filter.
        memory: bytes of ensembles and of exact W2.
    """

    compiling: float
    running: float
    cycle: dict[str, float]
    memory: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.compiling + self.running


def cost(
    experiment: Experiment, filters: tuple[str, ...], members: int, cycles: int, cores: int
) -> Cost:
    """Return what a run of several filters takes, roughly.

    Args:
        experiment: what is filtered.
        filters: names.
        members: ensemble size.
        cycles: how many.
        cores: that exact W2 runs on.
    """
    size = Size(members, len(experiment.coordinates))
    step = SUBSTEP * size.d * getattr(experiment.dynamics, "substeps", 1)
    by_filter = {name: ANALYSIS[name](size) + step * members for name in filters}
    compiling = sum(COMPILING.get(name, COMPILING_OTHERS) for name in filters)
    particles = 0 if experiment.exact is not None else experiment.reference_particles
    running = cycles * (sum(by_filter.values()) + particles * (step + 1e-6 / 2))
    memory = 4.0 * len(filters) * cycles * members * size.d
    if particles or experiment.exact is not None:
        compiling += COMPILING_OTHERS
        compared = members * compared_draws(members)
        running += len(filters) * cycles * TRANSPORT * compared / cores
        memory += cores * MATRIX * compared
    return Cost(compiling, running, by_filter, memory)


def of_reproduction(experiment: Experiment, plan: Plan, cores: int) -> float:
    """Return the seconds that a reproduction takes, roughly: see `tuned` for what it runs.

    Args:
        experiment: what is filtered.
        plan: sizes.
        cores: points of a grid run side by side, one a core.
    """
    cycles = plan.num_cycles or experiment.num_cycles
    grid = experiment.tuning_grid or experiment.grid
    points = math.prod(len(values[:: plan.every_bandwidth]) for values in grid.values())
    particles = 0 if experiment.exact is not None else experiment.reference_particles
    seeds = len(plan.tuning) + len(plan.scoring)
    seconds = seeds * cycles * particles * 1e-6
    for members in plan.members:
        size = Size(members, len(experiment.coordinates))
        flow, cheap = _flow(size), _cheap(size)
        tuning = len(plan.tuning) * cycles * (4 * points * cheap + plan.finalists * flow)
        scoring = len(plan.scoring) * cycles * (FLOW_LINES * flow + 9 * cheap)
        seconds += (PROGRAMS if plan.variants else PROGRAMS - 3) * COMPILING["kde"] + TOGETHER * (
            tuning + scoring
        ) / cores
        if particles or experiment.exact is not None:
            compared = members * compared_draws(members) * len(plan.scoring) * LINES
            seconds += TRANSPORT * compared * cycles / plan.w2_every / cores
    return seconds


def dear(filters: tuple[str, ...], members: int, d: int) -> list[str]:
    """Return a sentence for each filter whose cost grows out of proportion at this size."""
    size, found = Size(members, d), []
    for name in filters:
        seconds = ANALYSIS[name](size)
        if seconds < 1:
            continue
        if name in ("kde", "kde-sde") or (name == "enkpf" and 2e-8 * members**2 > CUBIC * d**3):
            why = "its cost grows with the square of the members: twice as many take four times"
        elif name == "enkpf":
            why = "its cost grows with the cube of the dimension; a localised filter's does not"
        elif name in ("lenkpf", "letkf"):
            why = "its cost grows with the square of the members in every coordinate"
        else:
            continue
        found.append(f"{name} takes about {duration(seconds)} a cycle: {why}")
    return found


def duration(seconds: float) -> str:
    """Return a time as people say it, rounded to what an estimate knows."""
    if seconds < 10:
        return f"{seconds:.1g} s" if seconds < 1 else f"{seconds:.0f} s"
    if seconds < 90:
        return f"{5 * round(seconds / 5)} s"
    for unit, size, until in (("min", 60, 90), ("h", 3600, 36), ("days", 86400, 700)):
        if seconds < until * size:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 3 else f"{value:.0f} {unit}"
    return f"{seconds / 31557600:.2g} years"
