"""Experiments: one module per published setting, ending in its expected scores.

This file is the catalogue. It imports no JAX, so that `kdediff list` answers at once.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Experiment

CATALOGUE = {
    "lorenz63-z": "Lorenz-63, only z measured: the posterior has two modes",
    "lorenz63-full": "Lorenz-63, all three coordinates measured",
    "toy-bimodal": "random walk on the line, |x| measured: two modes",
    "linear-gaussian": "linear oscillator, exact Kalman posterior",
    "sakov2012": "Lorenz-63 of Sakov et al. 2012: EnKF baseline",
    "ramgraber2022": "Lorenz-63 of Ramgraber et al. 2022: particle filter baseline",
}

FILTERS = {
    "kde": "closed-form diffusion, probability flow (the method)",
    "kde-sde": "the same posterior by the reverse SDE",
    "kde-mixture": "the same posterior by exact mixture draws",
    "enkf": "stochastic ensemble Kalman filter",
    "sir": "bootstrap particle filter",
}


def load(name: str) -> Experiment:
    """Return an experiment by name.

    Raises:
        ValueError: an unknown name; the nearest one is suggested.
    """
    if name not in CATALOGUE:
        near = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"experiment: expected one of {list(CATALOGUE)}, got {name!r}{hint}")
    return importlib.import_module(f".{name.replace('-', '_')}", __name__).experiment()
