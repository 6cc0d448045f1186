"""`enff-l96`: Lorenz-96 of arXiv 2508.13313, arctan of every component measured.

F = 8, RK4 steps of 0.01, arctan of every component measured every 0.1 with standard deviation 0.05,
80 measurements, no model noise, N = 20 members from N(0, I), which know nothing of the truth; the
truth has run for 10 time units from N(0, 9 I). There d = 10^6: `experiment(1_000_000)`. Here 400 by
default, which has the same errors in the mean over the ring, and fits a laptop.

The published scores are those at the end of the run: the last 10 measurements count here, our
choice. So is the localisation, that of `bao2024`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..._typing import Array, Float, Key
from ...dynamics import Lorenz96
from ...observations import GaussianObservation
from ..experiment import Expected, Experiment
from . import rings

PAPER = "arXiv 2508.13313, d = 10^6"
POINTS, CYCLES, SCORED = 400, 80, 10


def experiment(d: int = POINTS) -> Experiment:
    """Return the experiment with d coordinates."""

    def draw_start(key: Key) -> Float[Array, " d"]:
        return 3 * jax.random.normal(key, (d,), jnp.float32)

    spun_up = rings.around_attractor(draw_start, Lorenz96(interval=0.01), rings.LORENZ96_STEPS, 1.0)

    def initial(key: Key, n: int) -> tuple[Array, Array]:
        truth_key, member_key = jax.random.split(key)
        truth, _ = spun_up(truth_key, 1)
        return truth, jax.random.normal(member_key, (n, d), jnp.float32)

    model = Lorenz96(interval=0.1, substeps=10)
    return Experiment(
        name="enff-l96",
        summary="Lorenz-96 of arXiv 2508.13313, d = 400 of 10^6: arctan of every component",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(jnp.arctan, 0.05),
        num_cycles=CYCLES,
        burn_in=CYCLES - SCORED,
        initial=initial,
        bandwidths={20: (1.0, 1.0)},
        coordinates=rings.coordinates(d),
        localisation=rings.localisation(d, 1),
        shown=(0, 1),
        inflation=1.1,
        jitter=0.5,
        reference_particles=0,
        expected=(
            Expected("enff", 20, "rmse", 0.172, PAPER),
            Expected("ensf", 20, "rmse", 0.403, PAPER),
        ),
    )
