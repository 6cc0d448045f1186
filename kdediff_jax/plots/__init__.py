"""Figures of runs, of ensembles, of fields, of a filter's health, and of a sweep's score.

Arrays in, `matplotlib.figure.Figure` out: every function works without a truth unless it compares
with one, and labels its axes by what it is given, such as `StateSpace.labels`. `draw` makes the
same figures from a result file. Pyplot is never used: no window opens, no global state is left
behind, no display is needed. Needs matplotlib: ``pip install "kdediff_jax[plot]"``.
"""

from .calibration import rank_histogram, spread_error
from .composition import overview
from .field_maps import field_map, hovmoeller
from .flow import animate_flow, flow_paths
from .from_file import KINDS, draw, kinds
from .health import effort, innovations
from .health_page import diagnostics
from .heatmap import heat_map
from .marginals import marginals
from .posteriors import ensemble_panels
from .saving import save
from .series import trajectories
from .style import palette
from .sweep_map import sweep_map
from .trajectories import trajectory

__all__ = [
    "KINDS",
    "animate_flow",
    "diagnostics",
    "draw",
    "effort",
    "ensemble_panels",
    "field_map",
    "flow_paths",
    "heat_map",
    "hovmoeller",
    "innovations",
    "kinds",
    "marginals",
    "overview",
    "palette",
    "rank_histogram",
    "save",
    "spread_error",
    "sweep_map",
    "trajectories",
    "trajectory",
]
