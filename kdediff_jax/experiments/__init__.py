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
    "lorenz63-fast": "Lorenz-63, only z measured, at every time step",
    "toy-bimodal": "random walk on the line, |x| measured: two modes",
    "lorenz96-10": "Lorenz-96, d = 10, arctan of every component measured",
    "lorenz96-20": "Lorenz-96, d = 20, arctan of every component measured",
    "lorenz96-40": "Lorenz-96, d = 40, every second component measured",
    "linear-gaussian": "linear oscillator, exact Kalman posterior",
    "sakov2012": "Lorenz-63 of Sakov et al. 2012: EnKF baseline",
    "ramgraber2022": "Lorenz-63 of Ramgraber et al. 2022: particle filter baseline",
    "sakov2008": "Lorenz-96 of Sakov and Oke 2008, d = 40: EnKF baseline",
    "bocquet2010": "Lorenz-96 of Bocquet et al. 2010, d = 10: particle filter baseline",
    "spantini2019": "Lorenz-96 of Spantini et al. 2019, d = 40: sparse measurements, rarely",
    "bao2024": "Lorenz-96 of Bao et al. 2024, d = 100: arctan of every component measured",
}

FILTERS = {
    "kde-auto": "covariance kernel that chooses its own settings: nothing to tune",
    "kde": "closed-form diffusion, probability flow (the method)",
    "kde-sde": "the same posterior by the reverse SDE",
    "kde-mixture": "the same posterior by exact mixture draws",
    "enkf": "stochastic ensemble Kalman filter",
    "enkf-sampled": "the same from simulated measurements alone, as the paper's",
    "etkf": "square-root ensemble Kalman filter; local (LETKF) where the experiment says so",
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
