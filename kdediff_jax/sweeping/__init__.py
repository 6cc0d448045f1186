"""Sweeps: one function at every point of a grid, as one compiled program, across devices.

Takes any jit-able function of a grid point; knows nothing of filters. Long sweeps keep a checkpoint
and go on from it, bit for bit.
"""

from .program import use_every_core
from .result import SweepResult, best_point, smallest
from .run import sweep

__all__ = ["SweepResult", "best_point", "smallest", "sweep", "use_every_core"]
