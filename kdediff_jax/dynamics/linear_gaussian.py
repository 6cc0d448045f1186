"""Linear dynamics with Gaussian noise: the case with an exact answer."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._checks import positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from ..numerics import dot
from .base import AbstractDynamics


class LinearGaussian(AbstractDynamics):
    """x' = A x + Q^{1/2} z, z ~ N(0, I).

    The Kalman filter (`kdediff_jax.kalman`) is exact for it.

    Args:
        matrix: A [d d].
        noise_root: any root of Q [d d], or a number for noise_root^2 I.
        interval: model time per assimilation interval.

    Raises:
        ValueError: A not square, or a noise root of another shape.
    """

    matrix: Number = tunable()
    noise_root: Number = tunable(0.0)
    interval: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the shapes."""
        shape = jnp.shape(self.matrix)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"matrix: expected shape (d, d), got {shape}")
        if jnp.shape(self.noise_root) not in ((), shape):
            raise ValueError(
                f"noise_root: expected a number or shape {shape}, got {jnp.shape(self.noise_root)}"
            )
        positive("interval", self.interval)

    def root(self, dtype: jnp.dtype) -> Float[Array, "d d"]:
        """Return the noise root as a matrix."""
        root = jnp.asarray(self.noise_root, dtype)
        return root if root.ndim else root * jnp.eye(self.matrix.shape[0], dtype=dtype)

    def step(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " d"]:
        """Apply A and add noise."""
        if x.shape != (self.matrix.shape[0],):
            raise ValueError(f"x: expected shape ({self.matrix.shape[0]},), got {x.shape}")
        z = jax.random.normal(key, x.shape, x.dtype)
        propagated = dot(like(x, self.matrix), x)
        return propagated + dot(self.root(x.dtype), z)
