"""`bocquet2010-m40`: Lorenz-96 of `bocquet2010` with d = 40.

F = 8, RK4 steps of 0.05, components 1, 3, .., 39 measured after every step with variance 1.5 (there
it is 2.25), no model noise, members from N(truth, 0.001 I) around a spun-up truth.

The setting and its scores are those of the DAPPER project. Another list has everything measured
with R = I, and scores of 0.58 for an EnKF-N with N = 24, 0.45 for an iterated smoother with N = 19
and 0.57 for a particle filter with N = 10,000. The localisation is that of `spantini2019`; no
published score here used one.
"""

from __future__ import annotations

import math

from ...dynamics import Lorenz96
from ...observations import GaussianObservation, Select
from ..experiment import Expected, Experiment
from . import rings

SOURCE = "DAPPER, tuned, no localisation"


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz96(interval=0.05)
    return Experiment(
        name="bocquet2010-m40",
        summary="Lorenz-96 of Bocquet et al. 2010, d = 40: every second component measured",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Select(tuple(range(0, 40, 2))), math.sqrt(1.5)),
        num_cycles=1000,
        burn_in=200,
        initial=rings.lorenz96(40, math.sqrt(0.001)),
        bandwidths={24: (0.5, 2.0)},
        coordinates=rings.coordinates(40),
        localisation=rings.localisation(40, 2),
        shown=(0, 1),
        inflation=1.05,
        jitter=0.7,
        reference_particles=0,
        expected=(
            Expected("enkf-n", 24, "rmse", 0.38, SOURCE),
            Expected("iterated enks", 19, "rmse", 0.39, SOURCE),
            Expected("sir", 10_000, "rmse", 0.45, SOURCE),
        ),
    )
