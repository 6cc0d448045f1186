"""Named fields: a state as a dict of fields with coordinates and units, or as any pytree."""

from .field import Field
from .models import FieldDynamics, FieldObservation, FieldOperator
from .space import StateSpace

__all__ = ["Field", "FieldDynamics", "FieldObservation", "FieldOperator", "StateSpace"]
