"""`spantini2019`: Lorenz-96 as in Spantini, Baptista and Marzouk 2019 (arXiv 1907.00389).

d = 40, F = 8, RK4 steps of 0.02, every second component measured every 0.4 with variance 0.5, no
model noise, members from N(truth, I) around a spun-up truth. Hard without localisation, which is
what its published scores (a localised transform filter's) use.
"""

from __future__ import annotations

import math

from ...dynamics import Lorenz96
from ...observations import GaussianObservation, Select
from ..experiment import Expected, Experiment
from . import rings

SOURCE = "independent implementation, LETKF of taper radius 4"
ITERATED = "the same implementation, lag 2, up to 10 iterations that run the model again"


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz96(interval=0.4, substeps=20)
    return Experiment(
        name="spantini2019",
        summary="Lorenz-96 of Spantini et al. 2019, d = 40: sparse measurements, rarely",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Select(tuple(range(0, 40, 2))), math.sqrt(0.5)),
        num_cycles=1000,
        burn_in=100,
        initial=rings.lorenz96(40, 1.0),
        bandwidths={100: (1.0, 2.0)},
        coordinates=rings.coordinates(40),
        localisation=rings.localisation(40, 2),
        shown=(0, 1),
        inflation=1.1,
        jitter=0.5,
        reference_particles=0,
        expected=(
            Expected("letkf", 40, "rmse", 1.0, SOURCE),
            Expected("letkf", 60, "rmse", 0.89, SOURCE),
            Expected("letkf", 100, "rmse", 0.84, SOURCE),
            Expected("iEnKS", 40, "rmse", 0.52, ITERATED),
            Expected("iEnKS", 60, "rmse", 0.47, ITERATED),
            Expected("iEnKS", 100, "rmse", 0.43, ITERATED),
        ),
    )
