"""Figures: trajectories with bands, ensembles at one moment, both; and a sweep's score.

Arrays in, `matplotlib.figure.Figure` out. Pyplot is never used: no window opens, no global state is
left behind, no display is needed. Needs matplotlib: ``pip install "kdediff_jax[plot]"``.
"""

from .composition import overview
from .heatmap import heat_map
from .posteriors import ensemble_panels
from .style import palette, save
from .trajectories import trajectory

__all__ = ["ensemble_panels", "heat_map", "overview", "palette", "save", "trajectory"]
