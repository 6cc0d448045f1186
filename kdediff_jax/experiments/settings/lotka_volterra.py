"""`lotka-volterra`: four competing species, two of them counted.

The chaotic model of Vano et al. 2006 (Nonlinearity 19, 2391) in RK4 steps of 0.1, the first and
the third population measured every 5 time units with standard deviation 0.05, no model noise. Our
choice are the measurement, the prior N(0.25, 0.05^2) of every population, cut off at 0.01, and the
burn-in of 100 cycles, within which the truth comes to the attractor.
"""

from __future__ import annotations

import jax.numpy as jnp

from ..._typing import Array, Key
from ...dynamics import LotkaVolterra
from ...observations import GaussianObservation, Select
from ..experiment import Experiment, gaussian_start

SMALLEST = 0.01


def initial(key: Key, n: int) -> tuple[Array, Array]:
    """Draw the truth and the members, all positive."""
    truth, members = gaussian_start((0.25,) * 4, 0.05)(key, n)
    return jnp.maximum(truth, SMALLEST), jnp.maximum(members, SMALLEST)


def experiment() -> Experiment:
    """Return the experiment."""
    model = LotkaVolterra(interval=5.0, substeps=50)
    return Experiment(
        name="lotka-volterra",
        summary="four competing species, two of them counted",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Select((0, 2)), 0.05),
        num_cycles=500,
        burn_in=100,
        initial=initial,
        bandwidths={40: (0.01, 0.07)},
        coordinates=("x1", "x2", "x3", "x4"),
        shown=(0, 2),
        grid={
            "state_bandwidth": (0.002, 0.005, 0.01, 0.02, 0.05),
            "obs_bandwidth": (0.02, 0.04, 0.07, 0.15, 0.3),
        },
        inflation=1.02,
        jitter=0.7,
        reference_particles=0,
    )
