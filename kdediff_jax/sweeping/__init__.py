"""Sweeps: one function at every point of a grid, as one compiled program, across devices.

Takes any jit-able function of a grid point; knows nothing of filters. Long sweeps keep a checkpoint
and go on from it, bit for bit.
"""

from .result import SweepResult, select
from .run import sweep

__all__ = ["SweepResult", "select", "sweep"]
