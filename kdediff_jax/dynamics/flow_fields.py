"""Velocity, vorticity and pressure of a two-dimensional flow, one from the other.

Grids are [n n] on a doubly periodic square of side L, rows of equal y: u[j, i] is at
(x, y) = (i, j) L / n. Derivatives are spectral; the highest waves of an even grid have none.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from .._checks import positive
from .._typing import Array, Float


class Waves(NamedTuple):
    """Wavenumbers of the spectra that `rfft2` makes of a grid.

    Attributes:
        kx [1 k], ky [n 1]: wavenumbers, 0 where a derivative vanishes on the grid.
        inverse: 1 / (kx^2 + ky^2) [n k], 0 for the mean.
        kept: 1 for waves of fewer than n / 3 periods along each axis, whose products have no
            aliases among themselves (Orszag 1971), else 0 [n k].
    """

    kx: np.ndarray
    ky: np.ndarray
    inverse: np.ndarray
    kept: np.ndarray


def waves(n: int, length: float) -> Waves:
    """Return the wavenumbers of a grid."""
    along, across = np.arange(n // 2 + 1)[None], np.fft.fftfreq(n, 1 / n)[:, None]
    kept = ((3 * along < n) & (3 * abs(across) < n)).astype(float)
    kx, ky = (2 * math.pi / length * np.where(2 * abs(k) == n, 0, k) for k in (along, across))
    square = kx**2 + ky**2
    inverse = np.divide(1, square, out=np.zeros_like(square), where=square > 0)
    return Waves(kx, ky, inverse, kept)


def times(factor: np.ndarray, spectrum: Array) -> Array:
    """Return the spectrum [*b n k], each wave times its factor, which broadcasts to [n k]."""
    factor = factor.reshape((1,) * (spectrum.ndim - 2) + factor.shape)
    return jnp.asarray(factor, spectrum.dtype) * spectrum


def to_grid(spectrum: Array, n: int) -> Array:
    """Return the values on the grid."""
    return jnp.fft.irfft2(spectrum, (n, n))


def stream_velocity(spectrum: Array, w: Waves) -> tuple[Array, Array]:
    """Return u and v on the grid, without a mean, of a spectrum of vorticity."""
    n = spectrum.shape[-2]
    u = to_grid(times(1j * w.ky * w.inverse, spectrum), n)
    return u, to_grid(times(-1j * w.kx * w.inverse, spectrum), n)


def velocity(
    omega: Float[Array, "*b n n"], length: float = 2 * math.pi
) -> tuple[Float[Array, "*b n n"], Float[Array, "*b n n"]]:
    """Return the velocity (u, v) without a mean of a vorticity: u = -psi_y, v = psi_x.

    The stream function psi solves Laplace(psi) = omega.

    Raises:
        ValueError: a grid that is no square, a length that is not positive.
    """
    return stream_velocity(jnp.fft.rfft2(omega), _waves_of(omega, length))


def vorticity(
    u: Float[Array, "*b n n"], v: Float[Array, "*b n n"], length: float = 2 * math.pi
) -> Float[Array, "*b n n"]:
    """Return the vorticity v_x - u_y. A part of the velocity that is a gradient has none.

    Raises:
        ValueError: a grid that is no square, a length that is not positive.
    """
    w = _waves_of(u, length)
    slopes = times(1j * w.kx, jnp.fft.rfft2(v)) - times(1j * w.ky, jnp.fft.rfft2(u))
    return to_grid(slopes, u.shape[-1])


def pressure(
    u: Float[Array, "*b n n"], v: Float[Array, "*b n n"], length: float = 2 * math.pi
) -> Float[Array, "*b n n"]:
    """Return the pressure over the density, without a mean, of a velocity without divergence.

    It solves Laplace(p) = -div((u, v) . grad (u, v)), in the waves of fewer than n / 3 periods, for
    a force without divergence.

    Raises:
        ValueError: a grid that is no square, a length that is not positive.
    """
    w = _waves_of(u, length)
    parts = (w.kx**2, u * u), (2 * w.kx * w.ky, u * v), (w.ky**2, v * v)
    solved = -w.kept * w.inverse
    spectrum = sum(times(solved * factor, jnp.fft.rfft2(product)) for factor, product in parts)
    return to_grid(jnp.asarray(spectrum), u.shape[-1])


def _waves_of(grid: Array, length: float) -> Waves:
    if grid.ndim < 2 or grid.shape[-1] != grid.shape[-2]:
        raise ValueError(f"grid: expected shape (..., n, n), got {grid.shape}")
    positive("length", length)
    return waves(grid.shape[-1], length)
