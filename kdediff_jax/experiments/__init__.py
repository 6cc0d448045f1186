"""Experiments: one module per published setting, ending in its expected scores.

This file is the catalogue. It imports no JAX, so that `kdediff list` answers at once.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .experiment import Experiment

CATALOGUE = {
    "lorenz63-z": "Lorenz-63, only z measured: the posterior has two modes",
    "lorenz63-full": "Lorenz-63, all three coordinates measured",
    "lorenz63-fast": "Lorenz-63, only z measured, at every time step",
    "toy-bimodal": "random walk on the line, |x| measured: two modes",
    "linear-gaussian": "linear oscillator, exact Kalman posterior",
    "lorenz96-10": "Lorenz-96, d = 10, arctan of every component measured",
    "lorenz96-20": "Lorenz-96, d = 20, arctan of every component measured",
    "lorenz96-40": "Lorenz-96, d = 40, every second component measured",
    "sakov2012": "Lorenz-63 of Sakov et al. 2012: EnKF baseline",
    "ramgraber2022": "Lorenz-63 of Ramgraber et al. 2022: particle filter baseline",
    "anderson2010rhf": "Lorenz-63 of Anderson 2010: large measurement errors",
    "wiljes2017": "Lorenz-63 of de Wiljes et al. 2017: x alone, large measurement errors",
    "dalearning-l63": "Lorenz-63 of arXiv 2504.17836: x alone measured",
    "sakov2008": "Lorenz-96 of Sakov and Oke 2008, d = 40: EnKF baseline",
    "bocquet2010": "Lorenz-96 of Bocquet et al. 2010, d = 10: particle filter baseline",
    "bocquet2010-m40": "Lorenz-96 of Bocquet et al. 2010, d = 40: every second component measured",
    "spantini2019": "Lorenz-96 of Spantini et al. 2019, d = 40: sparse measurements, rarely",
    "bao2024": "Lorenz-96 of Bao et al. 2024, d = 100: arctan of every component measured",
    "dalearning-l96": "Lorenz-96 of arXiv 2504.17836, d = 40: every fourth component measured",
    "growth": "growth model of Gordon et al. 1993, x^2 / 20 measured: two modes at times",
    "lorenz84": "Lorenz-84, all three coordinates measured once a day",
    "lotka-volterra": "four competing species, two of them counted",
    "quantised-tracking": (
        "a circling target, ranges from three sensors rounded to 1 km and cut off at 10"
    ),
    "dalearning-ks": "Kuramoto-Sivashinsky of arXiv 2504.17836, d = 128: every eighth point",
    "bocquet2019": "Kuramoto-Sivashinsky of Bocquet and Farchi 2019, d = 128: every point measured",
    "enff-ks": "Kuramoto-Sivashinsky of arXiv 2508.13313, d = 512: arctan of every point",
    "enff-l96": ("Lorenz-96 of arXiv 2508.13313, d = 400 of 10^6: arctan of every component"),
    "enff-ns": ("two-dimensional Navier-Stokes of arXiv 2508.13313, 64 x 64: arctan of everything"),
}

FILTERS = {
    "enkpf": "ensemble Kalman particle filter, nothing to tune",
    "lenkpf": "the same, localised; for experiments with a localisation",
    "kde": "closed-form kernel density diffusion by probability flow: the paper's method",
    "kde-sde": "the same posterior by the reverse SDE",
    "kde-mixture": "the same posterior by exact mixture draws",
    "enkf": "stochastic ensemble Kalman filter",
    "enkf-pairs": "the same from simulated measurements alone, as the paper's",
    "etkf": "square-root ensemble Kalman filter",
    "letkf": "the same, localised; for experiments with a localisation",
    "sir": "bootstrap particle filter",
}
RECOMMENDED = ("enkpf", "lenkpf")  # without and with a localisation


def load(name: str) -> Experiment:
    """Return an experiment by name.

    Raises:
        ValueError: an unknown name; the nearest one is suggested.
    """
    if name not in CATALOGUE:
        near = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"experiment: expected one of {list(CATALOGUE)}, got {name!r}{hint}")
    module = name.replace("-", "_")
    return importlib.import_module(f".settings.{module}", __name__).experiment()
