r"""Two-dimensional incompressible flow on a doubly periodic square, pseudo-spectral.

The vorticity omega = v_x - u_y of the velocity (u, v) follows

    omega_t + u omega_x + v omega_y = nu Laplace(omega) - mu omega + curl f.

The advection is taken as the curl of the divergence of (u, v) (u, v), which needs four transforms
(Basdevant 1983, J. Comput. Phys. 50, 209), free of aliases by the two-thirds rule (Orszag 1971).
In time, ETDRK4 (`kdediff_jax.dynamics.etdrk4`). Grids are [n n], rows of equal y, over [0, L)^2.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax.numpy as jnp

from .._checks import concrete, count, positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from .base import AbstractDynamics
from .etdrk4 import integrate_spectrum
from .flow_fields import Waves, stream_velocity, times, to_grid, waves
from .integrators import add_noise, noise_over


def kolmogorov_forcing(n: int, amplitude: float, periods: int, length: float) -> Array:
    """Return the curl [n n] of the force (A sin(2 pi m y / L), 0), of Kolmogorov's flow.

    Args:
        n: points of the grid along an axis.
        amplitude: A.
        periods: m, of the sine over the square.
        length: L of its side.
    """
    k = 2 * math.pi * periods / length
    y = length / n * jnp.arange(n, dtype=float)
    return jnp.broadcast_to((-amplitude * k * jnp.cos(k * y))[:, None], (n, n))


class NavierStokes(AbstractDynamics):
    """Vorticity of a two-dimensional flow, the state omega [n n] as one vector, n even or odd.

    See `kdediff_jax.dynamics.navier_stokes` for the equation. There is no mean flow, and what omega
    has of a mean or of waves of more than n / 3 periods is left out.

    Args:
        viscosity: nu, length^2 / time.
        forcing: curl of the force on the grid [n n], see `kolmogorov_forcing`; 0 for none.
        drag: mu, 1 / time, of the linear friction.
        length: L of the square's side; static.
        interval: model time per assimilation interval; static.
        substeps: integration steps per interval. A step should be at most that in which the fastest
            flow crosses a distance between two grid points.
        noise_std: standard deviation of the noise added to each grid point once per interval; over
            a part of one, times the root of that part.
    """

    viscosity: Number = tunable(1e-3)
    forcing: Number = tunable(0.0)
    drag: Number = tunable(0.0)
    length: float = eqx.field(static=True, converter=float, default=2 * math.pi)
    interval: float = eqx.field(static=True, converter=float, default=0.1)
    substeps: int = eqx.field(static=True, default=4)
    noise_std: Number = tunable(0.0)

    def __check_init__(self) -> None:
        """Check the options."""
        positive("viscosity", self.viscosity, zero=True)
        positive("drag", self.drag, zero=True)
        positive("length", self.length)
        positive("interval", self.interval)
        count("substeps", self.substeps)
        positive("noise_std", self.noise_std, zero=True)
        shape = jnp.shape(self.forcing)
        if shape and (len(shape) != 2 or shape[0] != shape[1]):
            raise ValueError(f"forcing: expected a number or shape (n, n), got {shape}")

    def step(
        self, key: Key, x: Float[Array, " d"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " d"]:
        """Integrate over one interval, or over a shorter one, and add noise."""
        n = math.isqrt(x.size)
        if x.ndim != 1 or n**2 != x.size or n < 8:
            raise ValueError(f"x: expected shape (n * n,) with n >= 8, got {x.shape}")
        still = jnp.zeros(2, x.dtype)
        moved = self.advance(x.reshape(n, n), still, interval)
        std = noise_over(self.noise_std, interval, self.interval)
        return add_noise(key, moved.reshape(-1), std)

    def advance(
        self, omega: Float[Array, "n n"], mean_flow: Float[Array, " 2"], interval: Scalar | None
    ) -> Float[Array, "n n"]:
        """Return the vorticity after an interval, carried along by a mean flow too."""
        n = omega.shape[0]
        if jnp.shape(self.forcing) not in ((), (n, n)):
            raise ValueError(
                f"forcing: expected that of the state's grid, ({n}, {n}), got "
                f"{jnp.shape(self.forcing)}"
            )
        w = waves(n, self.length)
        force = jnp.broadcast_to(like(omega, self.forcing), (n, n))
        force = times(w.kept, jnp.fft.rfft2(force))

        def nonlinear(spectrum: Array) -> Array:
            u, v = stream_velocity(spectrum, w)
            u, v = u + mean_flow[0], v + mean_flow[1]
            shear = times(w.kept * (w.kx**2 - w.ky**2), jnp.fft.rfft2(u * v))
            return force + shear + times(w.kept * w.kx * w.ky, jnp.fft.rfft2(v * v - u * u))

        h = (self.interval if interval is None else like(omega, interval)) / self.substeps
        start, rates = times(w.kept, jnp.fft.rfft2(omega)), self._rates(w, omega)
        moved = integrate_spectrum(start, nonlinear, rates, h, self.substeps)
        return to_grid(moved, n)

    def _rates(self, w: Waves, omega: Array) -> Number:
        """Return -nu k^2 - mu, in float64 where the numbers are known."""
        square = w.kx**2 + w.ky**2
        nu, mu = concrete(self.viscosity), concrete(self.drag)
        if nu is None or mu is None:
            nu, mu, square = (like(omega, each) for each in (self.viscosity, self.drag, square))
        return -nu * square - mu
