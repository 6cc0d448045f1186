"""`sakov2012`: Lorenz-63 as in Sakov, Oliver and Bertino 2012 (Mon. Wea. Rev. 140, 1988).

RK4 steps of 0.01, everything measured every 0.25 with variance 2, no model noise, prior
N((1.509, -1.531, 25.46), 2 I), scores after 16 time units.
"""

from __future__ import annotations

import math

from ...dynamics import Lorenz63
from ...observations import GaussianObservation, Identity
from ..experiment import Expected, Experiment, gaussian_start


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz63(interval=0.25, substeps=25)
    return Experiment(
        name="sakov2012",
        summary="Lorenz-63 of Sakov et al. 2012: EnKF baseline",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Identity(), math.sqrt(2)),
        num_cycles=1000,
        burn_in=64,
        initial=gaussian_start((1.509, -1.531, 25.46), math.sqrt(2)),
        bandwidths={100: (0.5, 1.0)},
        coordinates=("x", "y", "z"),
        shown=(0, 2),
        inflation=1.01,
        jitter=0.9,
        reference_particles=0,
        expected=(
            Expected("enkf", 100, "rmse", 0.56, "three independent implementations, ± .02"),
            Expected("sir", 100, "rmse", 0.38, "resampling below 30 % ESS, jitter 2.4"),
            Expected("sir", 800, "rmse", 0.28, "resampling below 20 % ESS, jitter .9"),
            Expected("sir", 4000, "rmse", 0.27, "resampling below 5 % ESS, jitter .7"),
            Expected("square-root EnKF", 10, "rmse", 0.60, "random rotations, inflation 1.02"),
            Expected("iEnKS", 10, "rmse", 0.31, "lag 1, random rotations, inflation 1.02"),
        ),
    )
