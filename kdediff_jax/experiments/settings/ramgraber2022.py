"""`ramgraber2022`: Lorenz-63 as in Ramgraber, Baptista, McLaughlin and Marzouk 2022.

RK4 steps of 0.05, everything measured every 0.1 with variance 4, no model noise, prior N(0, I),
scores after 16 time units.
"""

from __future__ import annotations

import dataclasses

from ...dynamics import Lorenz63
from ...observations import GaussianObservation, Identity
from ..experiment import Expected, Experiment
from . import lorenz63_z

SOURCE = "published setting, independent implementation"
MAPS = "public figures of the stochastic-map filter, its best order"


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz63(interval=0.1, substeps=2)
    return dataclasses.replace(
        lorenz63_z.experiment(),
        name="ramgraber2022",
        summary="Lorenz-63 of Ramgraber et al. 2022: particle filter baseline",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Identity(), 2.0),
        num_cycles=1000,
        burn_in=160,
        bandwidths={100: (0.5, 1.0)},
        shown=(0, 2),
        inflation=1.01,
        jitter=0.7,
        sir_resampling="systematic",
        reference_particles=0,
        expected=(
            Expected("enkf", 100, "rmse", 0.46, SOURCE),
            Expected("sir", 100, "rmse", 0.39, SOURCE),
            Expected("sir", 800, "rmse", 0.28, SOURCE),
            Expected("sir", 4000, "rmse", 0.24, SOURCE),
            Expected("stochastic map", 100, "rmse", 0.427, MAPS),
            Expected("stochastic map", 200, "rmse", 0.387, MAPS),
            Expected("stochastic map", 400, "rmse", 0.369, MAPS),
            Expected("iEnKS", 10, "rmse", 0.32, SOURCE),
        ),
    )
