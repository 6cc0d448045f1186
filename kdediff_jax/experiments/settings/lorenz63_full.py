"""`lorenz63-full`: Lorenz-63 with all three coordinates measured; else as `lorenz63-z`."""

from __future__ import annotations

import dataclasses

from ...observations import GaussianObservation, Identity
from ..experiment import Expected, Experiment
from . import lorenz63_z

SOURCE = "first author's method on this setting, RMSE of the mean"


def experiment() -> Experiment:
    """Return the experiment."""
    return dataclasses.replace(
        lorenz63_z.experiment(),
        name="lorenz63-full",
        summary="Lorenz-63, all three coordinates measured",
        observation=GaussianObservation(Identity(), 2.0),
        bandwidths={250: (0.2, 2.0)},
        shown=(0, 2),
        expected=(
            Expected("kde", 250, "rmse", 0.50, SOURCE + ", (h_x .2, h_y 2): .45 to .54"),
            Expected("enkf", 250, "rmse", 0.52, SOURCE),
            Expected("sir", 250, "rmse", 9.4, SOURCE + ", no jitter"),
        ),
    )
