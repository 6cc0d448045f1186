"""How the untuned filter is compared with its tuned rivals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNTUNED = ("lenkpf", "enkpf")  # the first where the experiment has a localisation
QUARTERS = "error of the reference's mass, by quarter of the run"  # of reference_symmetry
# the last two with a localisation only
RIVALS = ("enkf tuned", "sir tuned", "letkf tuned", "letkf rotated tuned")


class Comparison(NamedTuple):
    """Mean scores of the untuned filter and the best rival, and their paired difference in se."""

    untuned: float
    rival: float
    name: str
    difference: float

    @property
    def behind(self):
        """Whether the untuned one is, by more than two standard errors, or has a failed run."""
        return self.difference > 2 or not np.isfinite(self.untuned)


def untuned_label(labels):
    """Return the label of the untuned filter among those of a record's cell."""
    return next(label for label in UNTUNED if label in labels)


def standard_error(values):
    """Return the standard error of the mean of independent values."""
    return values.std(ddof=1) / len(values) ** 0.5


def compare(filters, score):
    """Compare with the rival of smallest mean; None where the score is not there."""
    mine = untuned_label(filters)
    if score not in filters[mine]["scores"]:
        return None
    of = {label: np.array(f["scores"][score]) for label, f in filters.items()}
    # a run that failed has no score: such a filter is no rival
    name = min(
        (k for k in RIVALS if k in of),
        key=lambda k: np.inf if np.isnan(of[k]).any() else of[k].mean(),
    )
    gap = of[mine] - of[name]
    difference = gap.mean() / standard_error(gap)
    return Comparison(of[mine].mean(), of[name].mean(), name, difference)
