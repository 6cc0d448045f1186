"""`lorenz96-40`: Lorenz-96 in 40 dimensions, every second component measured.

F = 8, RK4 steps of 0.01, interval 0.1, 100 cycles, noise variance 0.5, model noise 0.1 once per
interval for the members only, members from N(truth, I) around a spun-up truth. Without
localisation every filter here needs many members.
"""

from __future__ import annotations

import dataclasses
import math

from ...dynamics import Lorenz96
from ...observations import GaussianObservation, Select
from ..experiment import Experiment
from . import rings


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz96(interval=0.1, substeps=10)
    return Experiment(
        name="lorenz96-40",
        summary="Lorenz-96, d = 40, every second component measured",
        dynamics=dataclasses.replace(model, noise_std=0.1),
        truth_dynamics=model,
        observation=GaussianObservation(Select(tuple(range(0, 40, 2))), math.sqrt(0.5)),
        num_cycles=100,
        initial=rings.lorenz96(40, 1.0),
        bandwidths={250: (1.0, 2.0)},
        coordinates=rings.coordinates(40),
        localisation=rings.localisation(40, 2),
        shown=(0, 1),
        inflation=1.1,
        jitter=0.5,
        reference_particles=0,
    )
