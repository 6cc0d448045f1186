"""Dynamics: black-box simulators of one assimilation interval."""

from .base import AbstractDynamics
from .linear_gaussian import LinearGaussian
from .lorenz63 import Lorenz63
from .lorenz96 import Lorenz96
from .random_walk import RandomWalk

__all__ = ["AbstractDynamics", "LinearGaussian", "Lorenz63", "Lorenz96", "RandomWalk"]
