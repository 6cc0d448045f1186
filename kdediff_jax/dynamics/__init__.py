"""Dynamics: black-box simulators of one assimilation interval."""

from .base import AbstractDynamics
from .coordinated_turn import CoordinatedTurn
from .flow_fields import pressure, velocity, vorticity
from .growth import GrowthModel
from .kuramoto_sivashinsky import KuramotoSivashinsky
from .linear_gaussian import LinearGaussian
from .lorenz05 import Lorenz05II, Lorenz05III
from .lorenz63 import Lorenz63
from .lorenz84 import Lorenz84
from .lorenz96 import Lorenz96
from .lotka_volterra import LotkaVolterra
from .navier_stokes import NavierStokes, kolmogorov_forcing
from .random_walk import RandomWalk
from .velocity_pressure import VelocityPressure

__all__ = [
    "AbstractDynamics",
    "CoordinatedTurn",
    "GrowthModel",
    "KuramotoSivashinsky",
    "LinearGaussian",
    "Lorenz05II",
    "Lorenz05III",
    "Lorenz63",
    "Lorenz84",
    "Lorenz96",
    "LotkaVolterra",
    "NavierStokes",
    "RandomWalk",
    "VelocityPressure",
    "kolmogorov_forcing",
    "pressure",
    "velocity",
    "vorticity",
]
