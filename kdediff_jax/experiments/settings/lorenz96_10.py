"""`lorenz96-10`: Lorenz-96 in 10 dimensions, arctan of every component measured.

F = 8, RK4 steps of 0.01, interval 0.1, 100 cycles, noise standard deviation 0.5, model noise 0.01
once per interval for the members only; truth from 1000 steps of spin-up, members from N(truth, I).
The paper (arXiv 2603.21291) calls its operator nonlinear and says no more: this setting is ours.

Climatological RMSE is about 3.6: scores of 4 and more are diverged filters.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from ...dynamics import Lorenz96
from ...observations import GaussianObservation
from ..experiment import Experiment, published
from . import rings

PAPER = "arXiv 2603.21291, RMSE; its operator is not stated"
# the first author's
GRID = {
    "state_bandwidth": (0.05, 0.1, 0.5, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
    "obs_bandwidth": (0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0),
    "tau_max": (50.0, 60.0, 75.0, 100.0, 150.0),
}
MEMBERS = (20, 50, 100, 250, 1000)


def of_dimension(
    d: int, bandwidths: dict[int, tuple[float, float]], paper: dict[str, tuple[float, ...]]
) -> Experiment:
    """Return the experiment in d dimensions."""
    model = Lorenz96(interval=0.1, substeps=10)
    return Experiment(
        name=f"lorenz96-{d}",
        summary=f"Lorenz-96, d = {d}, arctan of every component measured",
        dynamics=dataclasses.replace(model, noise_std=0.01),
        truth_dynamics=model,
        observation=GaussianObservation(jnp.arctan, 0.5),
        num_cycles=100,
        initial=rings.lorenz96(d, 1.0),
        bandwidths=bandwidths,
        coordinates=rings.coordinates(d),
        shown=(0, 1),
        grid=GRID,
        tuning_grid={
            "state_bandwidth": (0.1, 0.5, 0.7, 1.0, 1.5, 2.0),
            "obs_bandwidth": (0.5, 1.0, 1.5, 2.0, 3.0),
        },
        sir_resampling="multinomial",
        reference_particles=0,  # too few particles at any size that fits a laptop
        expected=published("rmse", MEMBERS, paper, PAPER),
    )


def experiment() -> Experiment:
    """Return the experiment."""
    return of_dimension(
        10,
        # chosen by `kdediff reproduce lorenz96-10` on its tuning seeds
        {20: (1.0, 1.5), 50: (0.7, 1.0), 100: (0.5, 1.0), 250: (0.5, 1.0)},
        {
            "kde": (3.07, 2.05, 1.69, 1.14, 0.95),
            "enkf": (4.90, 4.66, 4.02, 2.20, 0.59),
            "sir": (4.81, 4.80, 4.68, 4.74, 4.56),
        },
    )
