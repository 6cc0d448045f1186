r"""The models II and III of Lorenz 2005: smooth waves on a ring, without and with small scales.

Source: Lorenz 2005, "Designing chaotic models", J. Atmos. Sci. 62, 1574. With the window mean
m_K(X)_n = sum' X_{n+i} / K over |i| <= K / 2, where the ends of an even window count half, the
bracket of that paper is

    [X, Y]_{K,n} = -m_K(X)_{n-2K} m_K(Y)_{n-K} + m_K(m_K(X)_{.-K} Y_{.+K})_n.

[X, X] conserves the sum of X^2. With K = 1 it is the advection of Lorenz-96.
"""

from __future__ import annotations

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._checks import choice, count, positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from .base import AbstractDynamics
from .integrators import METHODS, add_noise, integrate, noise_over


def ring_sum(x: Float[Array, " d"], weights: np.ndarray) -> Float[Array, " d"]:
    """Return sum_i w_i x_{n+i} on a ring, for |i| <= J and 2 J + 1 weights."""
    if weights.size == 1:
        return like(x, weights[0]) * x
    j = weights.size // 2
    around = jnp.concatenate([x[-j:], x, x[:j]])
    # symmetric weights: a convolution is the sum; never in the short numbers of a GPU
    return jnp.convolve(around, like(x, weights), mode="valid", precision="highest")


def window(width: int) -> np.ndarray:
    """Return the weights of the mean over a window, whose ends count half if its width is even."""
    half = width // 2
    weights = np.full(2 * half + 1, 1.0 / width)
    if width % 2 == 0:
        weights[[0, -1]] /= 2
    return weights


def bracket(x: Float[Array, " d"], y: Float[Array, " d"], width: int) -> Float[Array, " d"]:
    """Return [X, Y]_K for K = width."""
    weights = window(width)
    smooth_x = ring_sum(x, weights)
    smooth_y = smooth_x if y is x else ring_sum(y, weights)
    product = jnp.roll(smooth_x, width) * jnp.roll(y, -width)
    return ring_sum(product, weights) - jnp.roll(smooth_x, 2 * width) * jnp.roll(smooth_y, width)


def large_scale_filter(reach: int) -> np.ndarray:
    """Return the weights alpha - beta |i| of model III, whose ends count half.

    They keep a quadratic function of n as it is (Lorenz 2005, Eq. 13).
    """
    alpha = (3 * reach**2 + 3) / (2 * reach**3 + 4 * reach)
    beta = (2 * reach**2 + 1) / (reach**4 + 2 * reach**2)
    weights = alpha - beta * abs(np.arange(-reach, reach + 1))
    weights[[0, -1]] /= 2
    return weights


class AbstractLorenz05(AbstractDynamics):
    """What both models share."""

    width: int = eqx.field(static=True, default=32)
    forcing: Number = tunable(15.0)
    interval: Number = tunable(0.05)
    substeps: int = eqx.field(static=True, default=2)
    method: str = eqx.field(static=True, default="rk4")
    noise_std: Number = tunable(0.0)

    def __check_init__(self) -> None:
        """Check the options."""
        choice("method", self.method, METHODS)
        count("width", self.width)
        count("substeps", self.substeps)
        positive("interval", self.interval)
        positive("noise_std", self.noise_std, zero=True)

    @abc.abstractmethod
    def tendency(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return the state's derivative in time."""

    def step(
        self, key: Key, x: Float[Array, " d"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " d"]:
        """Integrate over one interval, or over a shorter one, and add noise."""
        if x.ndim != 1 or x.shape[0] < 4 * self.width:
            raise ValueError(f"x: expected shape (d,) with d >= {4 * self.width}, got {x.shape}")
        length = self.interval if interval is None else interval
        x = integrate(self.tendency, x, length, self.substeps, self.method)
        return add_noise(key, x, noise_over(self.noise_std, interval, self.interval))


class Lorenz05II(AbstractLorenz05):
    """dX_n/dt = [X, X]_{K,n} - X_n + F, indices modulo d: Lorenz-96 with waves K times as long.

    Source: Lorenz 2005, model II, there with d = 960. The dimension is the state's, at least 4 K.

    Args:
        width: K, of the window; 1 is Lorenz-96.
        forcing: F.
        interval: model time per assimilation interval (0.05 is about 6 hours).
        substeps: integration steps per interval.
        method: "rk4" or "euler".
        noise_std: standard deviation of the noise added once per interval; over a part of one,
            times the root of that part.
    """

    def tendency(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return dX/dt."""
        return bracket(x, x, self.width) - x + like(x, self.forcing)


class Lorenz05III(AbstractLorenz05):
    """dZ/dt = [X, X]_K + b^2 [Y, Y]_1 + c [Y, X]_1 - Z + F, with X the large scales of Z = X + Y.

    Source: Lorenz 2005, model III. The small scales Y are b times as fast and as small.

    Args:
        width, forcing, interval, substeps, method, noise_std: as of `Lorenz05II`.
        reach: I, of the filter sum' (alpha - beta |i|) Z_{n+i} over |i| <= I that makes X.
        small_scale_speed: b.
        coupling: c.
    """

    substeps: int = eqx.field(static=True, default=20)
    reach: int = eqx.field(static=True, default=12)
    small_scale_speed: Number = tunable(10.0)
    coupling: Number = tunable(2.5)

    def __check_init__(self) -> None:
        """Check the options of this model."""
        count("reach", self.reach)
        if self.reach > 2 * self.width:
            raise ValueError(
                f"reach: expected at most twice the width, {2 * self.width}, got {self.reach}"
            )

    def large_scales(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return X, the large scales of Z."""
        return ring_sum(z, large_scale_filter(self.reach))

    def tendency(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return dZ/dt."""
        large = self.large_scales(x)
        small = x - large
        b, c = like(x, self.small_scale_speed), like(x, self.coupling)
        fast = b**2 * bracket(small, small, 1) + c * bracket(small, large, 1)
        return bracket(large, large, self.width) + fast - x + like(x, self.forcing)
