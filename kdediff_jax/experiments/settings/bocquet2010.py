"""`bocquet2010`: Lorenz-96 as in Bocquet, Pires and Wu 2010 (Mon. Wea. Rev. 138, 2997).

d = 10, F = 8, RK4 steps of 0.05, components 1, 3, .., 9 measured after every step with variance
2.25, no model noise, members from N(truth, 0.001 I) around a spun-up truth, 64 time units, scores
after 20.
"""

from __future__ import annotations

import math

from ...dynamics import Lorenz96
from ...observations import GaussianObservation, Select
from ..experiment import Expected, Experiment
from . import rings

SOURCE = "independent implementation, tuned jitter"


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz96(interval=0.05)
    return Experiment(
        name="bocquet2010",
        summary="Lorenz-96 of Bocquet et al. 2010, d = 10: particle filter baseline",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Select((0, 2, 4, 6, 8)), 1.5),
        num_cycles=1280,
        burn_in=400,
        initial=rings.lorenz96(10, math.sqrt(0.001)),
        bandwidths={100: (0.7, 2.0)},
        coordinates=rings.coordinates(10),
        shown=(0, 1),
        inflation=1.05,
        jitter=0.7,
        reference_particles=0,
        expected=(
            Expected("sir", 50, "rmse", 1.15, SOURCE),
            Expected("sir", 100, "rmse", 0.43, SOURCE),
            Expected("sir", 800, "rmse", 0.29, SOURCE),
            Expected("EnKF-N", 8, "rmse", 0.44, SOURCE),
            Expected("PFxN", 100, "rmse", 0.37, SOURCE),
            Expected("PFxN, EnKF proposal", 100, "rmse", 0.36, SOURCE),
            Expected("PF, optimal proposal", 800, "rmse", 0.28, SOURCE),
        ),
    )
