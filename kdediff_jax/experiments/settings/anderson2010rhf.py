"""`anderson2010rhf`: Lorenz-63 as in Anderson 2010 (rank histogram filter; Mon. Wea. Rev. 138).

RK4 steps of 0.01, everything measured every 0.12 with variance 8, no model noise. The prior,
N((1.509, -1.531, 25.46), 2 I), and the burn-in of 64 cycles are those of `sakov2012`.
"""

from __future__ import annotations

import math

from ...dynamics import Lorenz63
from ...observations import GaussianObservation, Identity
from ..experiment import Expected, Experiment, gaussian_start

SOURCE = "independent implementation, tuned inflation"


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz63(interval=0.12, substeps=12)
    return Experiment(
        name="anderson2010rhf",
        summary="Lorenz-63 of Anderson 2010: large measurement errors",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Identity(), math.sqrt(8)),
        num_cycles=1000,
        burn_in=64,
        initial=gaussian_start((1.509, -1.531, 25.46), math.sqrt(2)),
        bandwidths={50: (0.5, 3.0)},
        coordinates=("x", "y", "z"),
        shown=(0, 2),
        inflation=1.02,
        jitter=0.7,
        reference_particles=0,
        expected=(
            Expected("eakf, serial", 20, "rmse", 0.87, SOURCE),
            Expected("enkf-n", 20, "rmse", 0.87, SOURCE),
            Expected("rank histogram filter", 50, "rmse", 0.94, SOURCE),
        ),
    )
