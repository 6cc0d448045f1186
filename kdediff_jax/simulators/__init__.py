"""Simulators that are not JAX: NumPy functions and external programs, run on the host."""

from .base import AbstractSimulator
from .failures import Failure, Failures
from .functions import ArraySimulator, MemberSimulator
from .program import ProgramError, ProgramSimulator
from .roles import HostDynamics, HostObservation, HostOperator

__all__ = [
    "AbstractSimulator",
    "ArraySimulator",
    "Failure",
    "Failures",
    "HostDynamics",
    "HostObservation",
    "HostOperator",
    "MemberSimulator",
    "ProgramError",
    "ProgramSimulator",
]
