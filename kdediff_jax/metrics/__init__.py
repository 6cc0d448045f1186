"""Scores for ensembles: accuracy, probability, transport distance and calibration.

Every score takes plain arrays and knows nothing of filters. Axes are named the same way throughout:
``t`` cycles (any number of leading axes where the signature says ``*t``), ``n`` members, ``d``
coordinates.

Which one to trust: on a single-peaked posterior `rmse` with `spread` beside it; on a posterior with
several peaks the ensemble mean lies between them and its RMSE says nothing, so use `wasserstein2`
against a large reference ensemble, or `energy_score` and `crps` against the truth. `rank_histogram`
and `coverage` tell whether the ensemble's width is honest.

A NaN in the input makes the affected score NaN, unless the function says otherwise: a diverged run
must not look good.
"""

from .calibration import coverage, rank_flatness, rank_histogram
from .moments import effective_sample_size, rmse, spread
from .scoring import crps, energy_score
from .transport import sliced_wasserstein2, wasserstein2

__all__ = [
    "coverage",
    "crps",
    "effective_sample_size",
    "energy_score",
    "rank_flatness",
    "rank_histogram",
    "rmse",
    "sliced_wasserstein2",
    "spread",
    "wasserstein2",
]
