"""`bao2024`: Lorenz-96 as the ensemble score filter's authors tune their filters on it.

d = 100, F = 8, RK4 steps of 0.01, arctan of every component measured every 0.1 with standard
deviation 0.05, 150 cycles of which the last 50 count, no model noise. Members from N(0, I), which
know nothing of the truth. (Bao, Zhang and Zhang 2024, arXiv 2309.00983: the setting of their public
code, whose first measurement is one step of 0.01 after the start, here an interval.)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..._typing import Array, Key
from ...dynamics import Lorenz96
from ...observations import GaussianObservation
from ..experiment import Expected, Experiment
from . import rings

SOURCE = "arXiv 2309.00983, public code: best of 100 settings, tuned on the same runs"


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz96(interval=0.1, substeps=10)
    spun_up = rings.lorenz96(100, 1.0)

    def initial(key: Key, n: int) -> tuple[Array, Array]:
        truth_key, member_key = jax.random.split(key)
        truth, _ = spun_up(truth_key, 1)
        return truth, jax.random.normal(member_key, (n, 100), jnp.float32)

    return Experiment(
        name="bao2024",
        summary="Lorenz-96 of Bao et al. 2024, d = 100: arctan of every component measured",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(jnp.arctan, 0.05),
        num_cycles=150,
        burn_in=100,
        initial=initial,
        bandwidths={20: (1.0, 1.0)},
        coordinates=rings.coordinates(100),
        localisation=rings.localisation(100, 1),
        shown=(0, 1),
        inflation=1.1,
        jitter=0.5,
        reference_particles=0,
        expected=(
            Expected("ensf", 20, "rmse", 0.193, SOURCE),
            Expected("letkf", 20, "rmse", 0.138, SOURCE),
        ),
    )
