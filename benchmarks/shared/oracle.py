"""The pairwise core by NumPy in float64."""

from __future__ import annotations

import numpy as np


def exact(points, centres, log_weights, tau) -> tuple[np.ndarray, np.ndarray]:
    """Return the core's means and log-sums at some points."""
    points, centres, log_weights = (
        np.asarray(a, np.float64) for a in (points, centres, log_weights)
    )
    means, log_sums = np.empty_like(points), np.empty(len(points))
    for i, point in enumerate(points):
        logits = log_weights - 0.5 * ((point - centres) ** 2).sum(axis=1) / float(tau) ** 2
        weights = np.exp(logits - logits.max())
        means[i] = weights @ centres / weights.sum()
        log_sums[i] = logits.max() + np.log(weights.sum())
    return means, log_sums
