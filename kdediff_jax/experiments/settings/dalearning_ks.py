"""`dalearning-ks`: Kuramoto–Sivashinsky of arXiv 2504.17836, d = 128, every eighth point measured.

Domain of length 32 pi, ETDRK4 steps of 0.25, every eighth point measured every 1.0 with standard
deviation 1, no model noise. Our own choices are the truth, which has run for 200 time units from
N(0, I), the members, from N(truth, I), the burn-in of 50 cycles and the localisation: its radius of
8 points is 6.3 units of length, where the fastest growing wave is 8.9 long.
"""

from __future__ import annotations

from ...dynamics import KuramotoSivashinsky
from ...observations import GaussianObservation, Select
from ..experiment import Experiment, published
from . import flames, rings

PAPER = "arXiv 2504.17836, tuned"
POINTS, EVERY = 128, 8


def experiment() -> Experiment:
    """Return the experiment."""
    model = KuramotoSivashinsky()
    return Experiment(
        name="dalearning-ks",
        summary="Kuramoto-Sivashinsky of arXiv 2504.17836, d = 128: every eighth point",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Select(tuple(range(0, POINTS, EVERY))), 1.0),
        num_cycles=500,
        burn_in=50,
        initial=flames.around_attractor(POINTS, model, 1.0),
        bandwidths={20: (0.4, 1.5)},
        coordinates=rings.coordinates(POINTS, "u"),
        localisation=flames.localisation(POINTS, model, EVERY),
        shown=(0, 4),
        inflation=1.1,
        jitter=0.7,
        reference_particles=0,
        expected=published(
            "rmse",
            (5, 10, 15, 20, 40, 60, 100),
            {"letkf": (1.23, 1.07, 1.02, 0.995, 0.957, 0.94, 0.92)},
            PAPER,
        ),
    )
