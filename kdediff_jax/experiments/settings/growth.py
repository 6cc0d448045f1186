"""`growth`: the univariate growth model of Gordon, Salmond and Smith 1993.

x^2 / 20 measured at every step with variance 1, model noise of variance 10 (IEE Proc. F 140, 107).
Truth and members start from N(0, 2), where the source fixes the truth's start at 0.1. 500 steps,
where the source has 50, give scores that tell filters apart.
"""

from __future__ import annotations

import math

from ..._typing import Array, Float
from ...dynamics import GrowthModel
from ...observations import GaussianObservation
from ..experiment import Experiment, gaussian_start


def scaled_square(x: Float[Array, " d"]) -> Float[Array, " d"]:
    """Measure x^2 / 20: the sign is lost."""
    return x**2 / 20


def experiment() -> Experiment:
    """Return the experiment."""
    model = GrowthModel()
    return Experiment(
        name="growth",
        summary="growth model of Gordon et al. 1993, x^2 / 20 measured: two modes at times",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(scaled_square, 1.0),
        num_cycles=500,
        burn_in=20,
        initial=gaussian_start((0.0,), math.sqrt(2)),
        bandwidths={50: (1.0, 1.5), 250: (0.5, 1.0)},
        coordinates=("x",),
        shown=(0,),
        reference_particles=20_000,  # ample in one dimension
    )
