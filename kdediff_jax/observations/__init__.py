"""Observations: simulators of the measurement, operators, and what a Kalman gain knows of them."""

from .additive import (
    AbstractAdditive,
    AbstractAdditiveNoise,
    GaussianObservation,
    LaplaceObservation,
    StudentTObservation,
)
from .base import AbstractLikelihood, AbstractObservation, sample_ensemble
from .noise import AbstractNoise, AutoNoise, KnownNoise, PairedNoise, SampledNoise
from .operators import Identity, Linear, Select
from .quantised import QuantisedObservation
from .stable import StableObservation, stable_noise

__all__ = [
    "AbstractAdditive",
    "AbstractAdditiveNoise",
    "AbstractLikelihood",
    "AbstractNoise",
    "AbstractObservation",
    "AutoNoise",
    "GaussianObservation",
    "Identity",
    "KnownNoise",
    "LaplaceObservation",
    "Linear",
    "PairedNoise",
    "QuantisedObservation",
    "SampledNoise",
    "Select",
    "StableObservation",
    "StudentTObservation",
    "sample_ensemble",
    "stable_noise",
]
