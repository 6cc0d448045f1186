"""`bocquet2019`: Kuramoto–Sivashinsky of Bocquet and Farchi 2019, d = 128, every point measured.

Domain of length 32 pi, ETDRK4 steps of 0.5, every point measured every 1.0 with standard deviation
1, no model noise, members from N(truth, 0.001 I). (Tellus A 71, 1613142, Fig. 4, top right; the
setting and its scores are those of the DAPPER project, over 20,000 measurements after 2000. Each
LETKF there has an inflation and a radius of its own.) Our own choices are the truth, which has run
for 200 time units from N(0, I), fewer measurements, and the localisation, that of `dalearning-ks`.
"""

from __future__ import annotations

import math

from ...dynamics import KuramotoSivashinsky
from ...observations import GaussianObservation, Identity
from ..experiment import Expected, Experiment, published
from . import flames, rings

SOURCE = "DAPPER, tuned"
POINTS = 128


def experiment() -> Experiment:
    """Return the experiment."""
    model = KuramotoSivashinsky(substeps=2)
    return Experiment(
        name="bocquet2019",
        summary="Kuramoto-Sivashinsky of Bocquet and Farchi 2019, d = 128: every point measured",
        dynamics=model,
        truth_dynamics=model,
        observation=GaussianObservation(Identity(), 1.0),
        num_cycles=1000,
        burn_in=200,
        initial=flames.around_attractor(POINTS, model, math.sqrt(0.001)),
        bandwidths={20: (0.4, 1.5)},
        coordinates=rings.coordinates(POINTS, "u"),
        localisation=flames.localisation(POINTS, model, 1),
        shown=(0, 4),
        inflation=1.03,
        jitter=0.7,
        reference_particles=0,
        expected=(
            *published("rmse", (4, 6, 16), {"letkf": (0.18, 0.14, 0.11)}, SOURCE),
            Expected("etkf", 20, "rmse", 0.115, SOURCE),
        ),
    )
