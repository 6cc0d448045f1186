"""Fourth-order exponential time differencing of spectra, v_t = L v + N(v) with a diagonal L.

Source: Cox and Matthews 2002, J. Comput. Phys. 176; Kassam and Trefethen 2005, SIAM J. Sci.
Comput. 26.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._typing import Array, Number, like

CONTOUR_POINTS = 32


class Coefficients(NamedTuple):
    """What one step of ETDRK4 needs, per wave.

    Attributes:
        growth, half_growth: of the linear part over the step and over half of it.
        half_step: of the nonlinear part at the inner stages.
        start, middle, end: of the nonlinear part there; the middle counts twice.
    """

    growth: Any
    half_growth: Any
    half_step: Any
    start: Any
    middle: Any
    end: Any


def coefficients(rates: Number, h: Number) -> Coefficients:
    """Return the coefficients of a step.

    Those of Cox and Matthews 2002 divide differences of nearly equal numbers by powers of z = h L.
    Their means over a unit circle around z are the same without the cancellation (Kassam and
    Trefethen 2005). As z is real, the upper half of the circle and the real part do.

    Args:
        rates: L of every wave, real.
        h: length of the step. Where it and the rates are numbers of Python or NumPy, everything is
            computed in float64, else in the precision of the array.
    """
    angles = math.pi * (np.arange(CONTOUR_POINTS) + 0.5) / CONTOUR_POINTS
    circle = np.exp(1j * angles)
    xp: Any = np
    array = next((value for value in (h, rates) if isinstance(value, jax.Array)), None)
    if array is not None:
        xp, h, rates = jnp, like(array, h), like(array, rates)
        circle = jnp.asarray(circle, lax.complex(h, h).dtype)
    exponent = h * rates
    z = exponent[..., None].astype(circle.dtype) + circle.reshape((1,) * exponent.ndim + (-1,))
    e = xp.exp(z)

    def mean(values: Any) -> Any:
        return h * xp.mean(values, axis=-1).real

    return Coefficients(
        growth=xp.exp(exponent),
        half_growth=xp.exp(exponent / 2),
        half_step=mean((xp.exp(z / 2) - 1) / z),
        start=mean((-4 - z + e * (4 - 3 * z + z**2)) / z**3),
        middle=mean((2 + z + e * (z - 2)) / z**3),
        end=mean((-4 - 3 * z - z**2 + e * (4 - z)) / z**3),
    )


def integrate_spectrum(
    spectrum: Array, nonlinear: Callable[[Array], Array], rates: Number, h: Number, substeps: int
) -> Array:
    """Return the spectrum after equal substeps.

    Args:
        spectrum: v, complex.
        nonlinear: N.
        rates: L of every wave, see `coefficients`.
        h: length of one substep.
        substeps: how many.
    """
    c = jax.tree.map(lambda each: jnp.asarray(each, spectrum.dtype), coefficients(rates, h))

    def step(v: Array, _: None) -> tuple[Array, None]:
        at_start = nonlinear(v)
        first = c.half_growth * v + c.half_step * at_start
        at_first = nonlinear(first)
        second = c.half_growth * v + c.half_step * at_first
        at_second = nonlinear(second)
        third = c.half_growth * first + c.half_step * (2 * at_second - at_start)
        moved = c.start * at_start + 2 * c.middle * (at_first + at_second)
        return c.growth * v + moved + c.end * nonlinear(third), None

    # scan, not fori_loop: reverse-mode differentiable
    return lax.scan(step, spectrum, length=substeps)[0]
