"""`lorenz96-20`: as `lorenz96-10`, in 20 dimensions."""

from __future__ import annotations

from ..experiment import Experiment
from . import lorenz96_10


def experiment() -> Experiment:
    """Return the experiment."""
    return lorenz96_10.of_dimension(
        20,
        {250: (0.7, 1.5)},
        {
            "kde": (3.55, 2.90, 2.46, 2.07, 1.44),
            "enkf": (5.25, 5.07, 4.84, 3.91, 0.75),
        },
    )
