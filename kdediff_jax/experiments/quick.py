"""Experiments at a size for a look: the same models and filters, nothing to conclude from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from .experiment import Experiment

CYCLES = 20
MEMBERS = 50
PARTICLES = 5_000  # of the reference posterior
VALUES = 3  # of each axis of a grid


def quick(experiment: Experiment) -> Experiment:
    """Return an experiment of few cycles, half of them scored, with a small reference and grid."""
    cycles = min(experiment.num_cycles, CYCLES)
    tuning = experiment.tuning_grid
    return dataclasses.replace(
        experiment,
        num_cycles=cycles,
        burn_in=min(experiment.burn_in, cycles // 2),
        reference_particles=min(experiment.reference_particles, PARTICLES),
        grid=few_values(experiment.grid),
        tuning_grid=None if tuning is None else few_values(tuning),
    )


def few_values(grid: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    """Return a grid with three values an axis: the ends and the middle."""
    return {
        axis: values if len(values) <= VALUES else (values[0], values[len(values) // 2], values[-1])
        for axis, values in grid.items()
    }
