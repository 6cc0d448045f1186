"""The Kuramoto–Sivashinsky equation of flame fronts and thin films."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._checks import count, positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from .base import AbstractDynamics
from .integrators import add_noise, noise_over

CONTOUR_POINTS = 32


class Coefficients(NamedTuple):
    """What one step of ETDRK4 needs, per wavenumber k.

    Attributes:
        growth, half_growth: of the linear part over the step and over half of it.
        half_step: of the nonlinear part at the inner stages.
        start, middle, end: of the nonlinear part there; the middle counts twice.
        slope: -i k / 2, which makes u^2 the nonlinear part -u u_x.
    """

    growth: Any
    half_growth: Any
    half_step: Any
    start: Any
    middle: Any
    end: Any
    slope: Any


def coefficients(d: int, length: float, h: Any) -> Coefficients:
    """Return the coefficients of a step h on d grid points.

    A Python number has them computed in float64, a traced one in its own dtype.

    Those of Cox and Matthews 2002 divide differences of nearly equal numbers by powers of
    z = h (k^2 - k^4). Their means over a unit circle around z are the same without the cancellation
    (Kassam and Trefethen 2005). As z is real, the upper half of the circle and the real part do.
    """
    k = 2 * math.pi / length * np.arange(d // 2 + 1)
    rates = k**2 - k**4
    angles = math.pi * (np.arange(CONTOUR_POINTS) + 0.5) / CONTOUR_POINTS
    circle = np.exp(1j * angles)
    xp: Any = np
    if isinstance(h, jax.Array):
        xp, rates = jnp, like(h, rates)
        circle = jnp.asarray(circle, lax.complex(h, h).dtype)
    exponent = h * rates
    z = exponent[:, None].astype(circle.dtype) + circle[None]
    e = xp.exp(z)

    def mean(values: Any) -> Any:
        return h * xp.mean(values, axis=1).real

    slope = -0.5j * k
    if d % 2 == 0:
        slope[-1] = 0  # the derivative of the highest wave of an even grid vanishes on the grid
    return Coefficients(
        growth=xp.exp(exponent),
        half_growth=xp.exp(exponent / 2),
        half_step=mean((xp.exp(z / 2) - 1) / z),
        start=mean((-4 - z + e * (4 - 3 * z + z**2)) / z**3),
        middle=mean((2 + z + e * (z - 2)) / z**3),
        end=mean((-4 - 3 * z - z**2 + e * (4 - z)) / z**3),
        slope=slope,
    )


class KuramotoSivashinsky(AbstractDynamics):
    """u_t = -u u_x - u_xx - u_xxxx on a periodic domain, u on d >= 8 equal grid points.

    Sources: Kuramoto and Tsuzuki 1976, Prog. Theor. Phys. 55; Sivashinsky 1977, Acta Astronaut. 4.
    Spectral in space, fourth-order exponential time differencing (ETDRK4, Cox and Matthews 2002,
    J. Comput. Phys. 176; Kassam and Trefethen 2005, SIAM J. Sci. Comput. 26). The dimension is the
    state's. Chaotic on long domains; the mean of u is conserved.

    Args:
        length: of the domain; the unstable waves are longer than 2 pi.
        interval: model time per assimilation interval; static, as the coefficients depend on it.
        substeps: integration steps per interval.
        noise_std: standard deviation of the noise added once per interval; over a part of one,
            times the root of that part.
    """

    length: float = eqx.field(static=True, converter=float, default=32 * math.pi)
    interval: float = eqx.field(static=True, converter=float, default=1.0)
    substeps: int = eqx.field(static=True, default=4)
    noise_std: Number = tunable(0.0)

    def __check_init__(self) -> None:
        """Check the options."""
        positive("length", self.length)
        positive("interval", self.interval)
        count("substeps", self.substeps)
        positive("noise_std", self.noise_std, zero=True)

    def step(
        self, key: Key, x: Float[Array, " d"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " d"]:
        """Integrate over one interval, or over a shorter one, and add noise."""
        if x.ndim != 1 or x.shape[0] < 8:
            raise ValueError(f"x: expected shape (d,) with d >= 8, got {x.shape}")
        d = x.shape[0]
        spectrum = jnp.fft.rfft(x)
        h = self.interval if interval is None else like(x, interval)
        exact = coefficients(d, self.length, h / self.substeps)
        c = jax.tree.map(lambda each: jnp.asarray(each, spectrum.dtype), exact)

        def nonlinear(v: Array) -> Array:
            return c.slope * jnp.fft.rfft(jnp.fft.irfft(v, d) ** 2)

        def etdrk4(v: Array, _: None) -> tuple[Array, None]:
            at_start = nonlinear(v)
            first = c.half_growth * v + c.half_step * at_start
            at_first = nonlinear(first)
            second = c.half_growth * v + c.half_step * at_first
            at_second = nonlinear(second)
            third = c.half_growth * first + c.half_step * (2 * at_second - at_start)
            moved = c.start * at_start + 2 * c.middle * (at_first + at_second)
            return c.growth * v + moved + c.end * nonlinear(third), None

        # scan, not fori_loop: reverse-mode differentiable
        std = noise_over(self.noise_std, interval, self.interval)
        spectrum, _ = lax.scan(etdrk4, spectrum, length=self.substeps)
        return add_noise(key, jnp.fft.irfft(spectrum, d), std)
