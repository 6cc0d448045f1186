"""Numerical pieces that every scheme shares: products, roots, masks, bisection, decompositions."""

from .arrays import centred, dot, masked_covariance, safe_sqrt, split_missing, standard_deviation
from .bisection import bisect
from .linalg import cho_solve, cholesky, eigh, solve, solve_lower
from .roots import floored_root, solve_positive
from .spectral import apply_spectral
from .units import binary_unit, unit_of_spread

__all__ = [
    "apply_spectral",
    "binary_unit",
    "bisect",
    "centred",
    "cho_solve",
    "cholesky",
    "dot",
    "eigh",
    "floored_root",
    "masked_covariance",
    "safe_sqrt",
    "solve",
    "solve_lower",
    "solve_positive",
    "split_missing",
    "standard_deviation",
    "unit_of_spread",
]
