"""`lorenz84`: the general circulation of Lorenz 1984, everything measured once a day.

RK4 steps of 0.05, everything measured every 0.2 (a day) with variance 0.1, no model noise. Model
and measurement noise are those of Pajonk et al. 2012 (Physica D 241, 775), which gives no converged
scores. Our own choices are the interval, the prior N((1, 0, 0), I), as wide as the attractor, and
the burn-in of 64 cycles.
"""

from __future__ import annotations

import math

from ...dynamics import Lorenz84
from ...observations import GaussianObservation, Identity
from ..experiment import Experiment, gaussian_start


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz84(interval=0.2, substeps=4)
    return Experiment(
        name="lorenz84",
        summary="Lorenz-84, all three coordinates measured once a day",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Identity(), math.sqrt(0.1)),
        num_cycles=1000,
        burn_in=64,
        initial=gaussian_start((1.0, 0.0, 0.0), 1.0),
        bandwidths={30: (0.05, 0.4)},
        coordinates=("x", "y", "z"),
        shown=(0, 1),
        grid={
            "state_bandwidth": (0.02, 0.05, 0.1, 0.2, 0.5),
            "obs_bandwidth": (0.1, 0.2, 0.4, 0.8, 1.6),
        },
        inflation=1.02,
        jitter=0.7,
        reference_particles=0,
    )
