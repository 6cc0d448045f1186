"""Pairwise sums over an ensemble: the only O(N²) code of the package.

`tiled` is plain XLA, the default and the oracle; `fused` one GPU kernel for the sum that a flow
evaluates; `choice` picks between them.
"""

from .choice import IMPLEMENTATIONS, softmax_shift
from .tiled import DIFFERENCES_UP_TO, default_tile, gaussian_cdf, mean_distance, softmax_mean

__all__ = [
    "DIFFERENCES_UP_TO",
    "IMPLEMENTATIONS",
    "default_tile",
    "gaussian_cdf",
    "mean_distance",
    "softmax_mean",
    "softmax_shift",
]
