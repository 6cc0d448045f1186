"""`dalearning-l96`: Lorenz-96 of arXiv 2504.17836, d = 40, every fourth component measured.

F = 8, RK4 steps of 0.05, components 1, 5, .., 37 measured every 0.15 with standard deviation 1, no
model noise. Our own choices are the members, from N(truth, I) around a spun-up truth, the
localisation of radius 4, as in `spantini2019`, and the burn-in of 100 cycles.
"""

from __future__ import annotations

from ...dynamics import Lorenz96
from ...observations import GaussianObservation, Select
from ..experiment import Experiment, published
from . import rings

PAPER = "arXiv 2504.17836, tuned"


def experiment() -> Experiment:
    """Return the experiment."""
    model = Lorenz96(interval=0.15, substeps=3)
    return Experiment(
        name="dalearning-l96",
        summary="Lorenz-96 of arXiv 2504.17836, d = 40: every fourth component measured",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Select(tuple(range(0, 40, 4))), 1.0),
        num_cycles=1000,
        burn_in=100,
        initial=rings.lorenz96(40, 1.0),
        bandwidths={20: (1.0, 1.5)},
        coordinates=rings.coordinates(40),
        localisation=rings.localisation(40, 4),
        shown=(0, 1),
        inflation=1.1,
        jitter=0.7,
        reference_particles=0,
        expected=published(
            "rmse",
            (5, 10, 15, 20, 40, 60, 100),
            {"letkf": (2.64, 2.02, 1.75, 1.58, 1.40, 1.34, 1.30)},
            PAPER,
        ),
    )
