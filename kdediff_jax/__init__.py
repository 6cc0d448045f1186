"""kdediff_jax: closed-form conditional diffusion filters for data assimilation, in JAX.

Names are loaded on first use, so that the command line answers `--help` without importing JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = ("bandwidths", "kalman", "kde", "latents", "metrics", "plots", "results")
_NAMES = {
    "analysis.base": ("AbstractAnalysis", "AnalysisInfo"),
    "analysis.bridge": ("CovarianceKernel",),
    "analysis.enkf": ("EnKF",),
    "analysis.etkf": ("ETKF",),
    "analysis.inflation": ("SamplingInflation",),
    "analysis.localisation": ("Localisation",),
    "analysis.kde_diffusion": ("KDEDiffusion",),
    "analysis.product_kernel": ("ProductKernel",),
    "analysis.sir": ("SIR",),
    "assimilation": (
        "CycleOutput",
        "FilterResult",
        "FilterState",
        "Moments",
        "assimilate",
        "cycle",
        "init",
        "resume",
        "save_ensembles",
        "save_moments",
    ),
    "bandwidths": ("AbstractBandwidth", "Scott", "Silverman", "TargetESS"),
    "dynamics": ("AbstractDynamics", "LinearGaussian", "Lorenz63", "Lorenz96", "RandomWalk"),
    "heavy_tails": ("LaplaceObservation", "StudentTObservation"),
    "leave_one_out": ("ConditionalLeaveOneOut", "LeaveOneOut"),
    "observations": (
        "AbstractAdditive",
        "AbstractAdditiveGaussian",
        "AbstractLikelihood",
        "AbstractObservation",
        "GaussianObservation",
        "Linear",
        "Select",
    ),
    "samplers": (
        "AbstractSampler",
        "ExactMixture",
        "ExponentialMultistep",
        "ProbabilityFlow",
        "ReverseSDE",
        "ShardedFlow",
        "per_member_pid",
    ),
    "schedules": ("AbstractSchedule", "VarianceExploding"),
    "sweeping": ("SweepResult", "select", "sweep"),
    "tuning": ("TuneResult", "tune"),
    "twin": ("twin_experiment",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [*_MODULES, *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if TYPE_CHECKING:
    from . import bandwidths, kalman, kde, latents, metrics, plots, results
    from .analysis.base import AbstractAnalysis, AnalysisInfo
    from .analysis.bridge import CovarianceKernel
    from .analysis.enkf import EnKF
    from .analysis.etkf import ETKF
    from .analysis.inflation import SamplingInflation
    from .analysis.kde_diffusion import KDEDiffusion
    from .analysis.localisation import Localisation
    from .analysis.product_kernel import ProductKernel
    from .analysis.sir import SIR
    from .assimilation import (
        CycleOutput,
        FilterResult,
        FilterState,
        Moments,
        assimilate,
        cycle,
        init,
        resume,
        save_ensembles,
        save_moments,
    )
    from .bandwidths import AbstractBandwidth, Scott, Silverman, TargetESS
    from .dynamics import AbstractDynamics, LinearGaussian, Lorenz63, Lorenz96, RandomWalk
    from .heavy_tails import LaplaceObservation, StudentTObservation
    from .leave_one_out import ConditionalLeaveOneOut, LeaveOneOut
    from .observations import (
        AbstractAdditive,
        AbstractAdditiveGaussian,
        AbstractLikelihood,
        AbstractObservation,
        GaussianObservation,
        Linear,
        Select,
    )
    from .samplers import (
        AbstractSampler,
        ExactMixture,
        ExponentialMultistep,
        ProbabilityFlow,
        ReverseSDE,
        ShardedFlow,
        per_member_pid,
    )
    from .schedules import AbstractSchedule, VarianceExploding
    from .sweeping import SweepResult, select, sweep
    from .tuning import TuneResult, tune
    from .twin import twin_experiment
