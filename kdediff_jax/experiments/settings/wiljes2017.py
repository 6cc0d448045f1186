"""`wiljes2017`: Lorenz-63 as in de Wiljes, Acevedo and Reich 2017, x alone measured.

RK4 steps of 0.01, x measured every 0.12 with variance 8, no model noise. The prior,
N((1.509, -1.531, 25.46), 2 I), and the burn-in of 64 cycles are those of `sakov2012`.
"""

from __future__ import annotations

import math

from ...dynamics import Lorenz63
from ...observations import GaussianObservation, Select
from ..experiment import Expected, Experiment, gaussian_start

SOURCE = "independent implementation, tuned"


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz63(interval=0.12, substeps=12)
    return Experiment(
        name="wiljes2017",
        summary="Lorenz-63 of de Wiljes et al. 2017: x alone, large measurement errors",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Select((0,)), math.sqrt(8)),
        num_cycles=1000,
        burn_in=64,
        initial=gaussian_start((1.509, -1.531, 25.46), math.sqrt(2)),
        bandwidths={50: (1.5, 3.0)},
        coordinates=("x", "y", "z"),
        shown=(0, 2),
        inflation=1.05,
        jitter=0.7,
        reference_particles=0,
        expected=(
            Expected("enkf-n", 30, "rmse", 2.52, SOURCE),
            Expected("sir", 35, "rmse", 2.05, SOURCE),
        ),
    )
