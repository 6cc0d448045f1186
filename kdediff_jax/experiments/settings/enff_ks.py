"""`enff-ks`: Kuramoto–Sivashinsky of arXiv 2508.13313, d = 512, arctan of every point measured.

Domain of length 128 pi, ETDRK4 steps of 0.25, arctan of every point measured every 1.0 with
standard deviation 0.1, 1000 measurements, no model noise, N = 20 members from N(truth, I). d = 1024
for the published score filters. The truth has run for 500 time units there; here for 200 from
N(0, I), our choice as in `dalearning-ks`. Our own choices are also the burn-in of 100 cycles, and
the localisation: a radius of 8 points is 6.3 units of length, as in `dalearning-ks`.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from ...dynamics import KuramotoSivashinsky
from ...observations import GaussianObservation
from ..experiment import Expected, Experiment
from . import flames, rings

PAPER = "arXiv 2508.13313, tuned"
POINTS = 512


def experiment() -> Experiment:
    """Return the experiment."""
    model = KuramotoSivashinsky(length=128 * math.pi)
    return Experiment(
        name="enff-ks",
        summary="Kuramoto-Sivashinsky of arXiv 2508.13313, d = 512: arctan of every point",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(jnp.arctan, 0.1),
        num_cycles=1000,
        burn_in=100,
        initial=flames.around_attractor(POINTS, model, 1.0),
        bandwidths={20: (0.4, 1.5)},
        coordinates=rings.coordinates(POINTS, "u"),
        localisation=flames.localisation(POINTS, model, 1),
        shown=(0, 4),
        inflation=1.02,
        jitter=0.5,
        reference_particles=0,
        expected=(
            Expected("enkf", 20, "rmse", 0.0209, PAPER),
            Expected("letkf", 20, "rmse", 0.0210, PAPER),
            Expected("enff", 20, "rmse", 0.0526, PAPER),
            Expected("ensf", 20, "rmse", 0.082, PAPER),
        ),
    )
