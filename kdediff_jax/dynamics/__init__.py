"""Dynamics: black-box simulators of one assimilation interval."""

from .base import AbstractDynamics
from .coordinated_turn import CoordinatedTurn
from .growth import GrowthModel
from .kuramoto_sivashinsky import KuramotoSivashinsky
from .linear_gaussian import LinearGaussian
from .lorenz63 import Lorenz63
from .lorenz84 import Lorenz84
from .lorenz96 import Lorenz96
from .lotka_volterra import LotkaVolterra
from .random_walk import RandomWalk

__all__ = [
    "AbstractDynamics",
    "CoordinatedTurn",
    "GrowthModel",
    "KuramotoSivashinsky",
    "LinearGaussian",
    "Lorenz63",
    "Lorenz84",
    "Lorenz96",
    "LotkaVolterra",
    "RandomWalk",
]
