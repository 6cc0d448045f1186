"""`lorenz63-fast`: Lorenz-63, z measured ten times as often and with more noise.

Euler steps of 0.01, z measured after every one with variance 10, 1000 cycles, model noise
sqrt(10)/10 per interval for the members only, truth and members from N(0, 10 I). The settings are
the first author's; the paper (arXiv 2603.21291) reports no score for them.
"""

from __future__ import annotations

import dataclasses
import math

from ...dynamics import Lorenz63
from ...observations import GaussianObservation, Select
from ..experiment import Experiment, gaussian_start
from . import lorenz63_z


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz63(method="euler", interval=0.01, substeps=1)
    return dataclasses.replace(
        lorenz63_z.experiment(),
        name="lorenz63-fast",
        summary="Lorenz-63, only z measured, at every time step",
        dynamics=dataclasses.replace(model, noise_std=math.sqrt(10) / 10),
        truth_dynamics=model,
        observation=GaussianObservation(Select((2,)), math.sqrt(10)),
        num_cycles=1000,
        initial=gaussian_start((0.0, 0.0, 0.0), math.sqrt(10)),
        bandwidths={250: (0.5, 10.0)},
        expected=(),
    )
