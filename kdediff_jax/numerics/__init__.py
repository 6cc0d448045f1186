"""Numerical pieces that every scheme shares: products, roots, masks, bisection, decompositions."""

from .arrays import (
    centred,
    dot,
    safe_sqrt,
    split_missing,
    standard_deviation,
)
from .batches import in_batches
from .bisection import bisect, bisect_root, newton_root
from .layout import row_major
from .linalg import cho_solve, cholesky, eigh, solve, solve_lower, triangular_root
from .noise_covariance import (
    AbstractCovariance,
    Covariance,
    covariance_in_units,
    in_form_of,
    masked_covariance,
    mixed,
    no_smaller,
    variances,
    whitened,
)
from .random import normal
from .rare import rarely
from .regression import LinearFit, linear_fit
from .roots import floored_root, root_of_rows, solve_positive
from .sampled_covariance import oracle_shrinkage, shrunk_rows
from .smoothing import Smooth, mean_squares, smooth
from .sorting import sort_columns
from .spectral import Image, apply_gram, apply_spectral
from .units import binary_unit, half_range, unit_of_spread

__all__ = [
    "AbstractCovariance",
    "Covariance",
    "Image",
    "LinearFit",
    "Smooth",
    "apply_gram",
    "apply_spectral",
    "binary_unit",
    "bisect",
    "bisect_root",
    "centred",
    "cho_solve",
    "cholesky",
    "covariance_in_units",
    "dot",
    "eigh",
    "floored_root",
    "half_range",
    "in_batches",
    "in_form_of",
    "linear_fit",
    "masked_covariance",
    "mean_squares",
    "mixed",
    "newton_root",
    "no_smaller",
    "normal",
    "oracle_shrinkage",
    "rarely",
    "root_of_rows",
    "row_major",
    "safe_sqrt",
    "shrunk_rows",
    "smooth",
    "solve",
    "solve_lower",
    "solve_positive",
    "sort_columns",
    "split_missing",
    "standard_deviation",
    "triangular_root",
    "unit_of_spread",
    "variances",
    "whitened",
]
