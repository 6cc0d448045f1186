"""`sakov2008`: Lorenz-96 as in Sakov and Oke 2008 (Tellus A 60, 361).

d = 40, F = 8, RK4 steps of 0.05, everything measured after every step with variance 1, no model
noise, prior N(e1, 0.001 I), scores after 20 time units.
"""

from __future__ import annotations

import math

from ...dynamics import Lorenz96
from ...observations import GaussianObservation, Identity
from ..experiment import Expected, Experiment, gaussian_start
from . import rings

SOURCE = "published, and by independent implementations"


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz96(interval=0.05)
    return Experiment(
        name="sakov2008",
        summary="Lorenz-96 of Sakov and Oke 2008, d = 40: EnKF baseline",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Identity(), 1.0),
        num_cycles=1400,
        burn_in=400,
        initial=gaussian_start((1.0,) + 39 * (0.0,), math.sqrt(0.001)),
        bandwidths={40: (1.0, 2.0)},
        coordinates=rings.coordinates(40),
        localisation=rings.localisation(40, 1),
        shown=(0, 1),
        inflation=1.06,
        jitter=0.5,
        reference_particles=0,
        expected=(
            Expected("enkf", 40, "rmse", 0.22, SOURCE + ", inflation 1.06"),
            Expected("DEnKF", 40, "rmse", 0.18, SOURCE + ", inflation 1.01"),
            Expected("square-root EnKF", 24, "rmse", 0.18, SOURCE + ", random rotations"),
            Expected("letkf", 7, "rmse", 0.22, SOURCE + ", random rotations"),
        ),
    )
