"""State and parameters together: one vector that any filter moves, and the way back."""

from .layout import Augmentation, Parts
from .models import AugmentedDynamics
from .parameters import Parameter

__all__ = ["Augmentation", "AugmentedDynamics", "Parameter", "Parts"]
