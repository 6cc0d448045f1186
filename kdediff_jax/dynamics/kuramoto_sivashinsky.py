"""The Kuramoto–Sivashinsky equation of flame fronts and thin films."""

from __future__ import annotations

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._checks import count, positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from .base import AbstractDynamics
from .etdrk4 import integrate_spectrum
from .integrators import add_noise, noise_over


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
        h = self.interval if interval is None else like(x, interval)
        k = 2 * math.pi / self.length * np.arange(d // 2 + 1)
        slope = -0.5j * k
        if d % 2 == 0:
            slope[-1] = 0  # the derivative of the highest wave of an even grid vanishes on the grid

        def nonlinear(v: Array) -> Array:
            return jnp.asarray(slope, v.dtype) * jnp.fft.rfft(jnp.fft.irfft(v, d) ** 2)

        spectrum = integrate_spectrum(
            jnp.fft.rfft(x), nonlinear, k**2 - k**4, h / self.substeps, self.substeps
        )
        std = noise_over(self.noise_std, interval, self.interval)
        return add_noise(key, jnp.fft.irfft(spectrum, d), std)
