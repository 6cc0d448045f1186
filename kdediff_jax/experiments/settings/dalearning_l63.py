"""`dalearning-l63`: Lorenz-63 of arXiv 2504.17836, x alone measured, accurately.

RK4 steps of 0.03, x measured every 0.15 with standard deviation 1, no model noise. The source
gives the step's length; the scheme, the prior N((1.509, -1.531, 25.46), 2 I) and the burn-in of 100
cycles are our choice.
"""

from __future__ import annotations

import math

from ...dynamics import Lorenz63
from ...observations import GaussianObservation, Select
from ..experiment import Expected, Experiment, gaussian_start

SOURCE = "arXiv 2504.17836, tuned"


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz63(interval=0.15, substeps=5)
    return Experiment(
        name="dalearning-l63",
        summary="Lorenz-63 of arXiv 2504.17836: x alone measured",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Select((0,)), 1.0),
        num_cycles=1000,
        burn_in=100,
        initial=gaussian_start((1.509, -1.531, 25.46), math.sqrt(2)),
        bandwidths={100: (0.5, 1.5)},
        coordinates=("x", "y", "z"),
        shown=(0, 2),
        inflation=1.02,
        jitter=0.7,
        reference_particles=0,
        expected=(
            Expected("enkf", 100, "rmse", 0.788, SOURCE),
            Expected("iterated enkf", 5, "rmse", 0.641, SOURCE),
            Expected("iterated enks", 15, "rmse", 0.496, SOURCE),
        ),
    )
