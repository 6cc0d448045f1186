"""How the untuned default is compared with its tuned rivals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# the last two with a localisation only
RIVALS = ("enkf tuned", "sir tuned", "letkf tuned", "letkf rotated tuned")


class Comparison(NamedTuple):
    """Mean scores of the default and of the better rival, and their paired difference in se."""

    default: float
    rival: float
    name: str
    difference: float

    @property
    def behind(self):
        """Whether the default is: by more than two standard errors, or not finite, a run failed."""
        return self.difference > 2 or not np.isfinite(self.default)


def standard_error(values):
    """Return the standard error of the mean of independent values."""
    return values.std(ddof=1) / len(values) ** 0.5


def compare(filters, score):
    """Compare the default with the rival of smallest mean; None where the score is not there."""
    if score not in filters["kde-auto"]["scores"]:
        return None
    of = {label: np.array(f["scores"][score]) for label, f in filters.items()}
    # a run that failed has no score: such a filter is no rival
    name = min(
        (k for k in RIVALS if k in of),
        key=lambda k: np.inf if np.isnan(of[k]).any() else of[k].mean(),
    )
    gap = of["kde-auto"] - of[name]
    difference = gap.mean() / standard_error(gap)
    return Comparison(of["kde-auto"].mean(), of[name].mean(), name, difference)
