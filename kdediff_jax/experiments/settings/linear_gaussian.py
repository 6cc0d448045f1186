"""`linear-gaussian`: a damped, noisy oscillator whose position is measured; Kalman is exact.

x' = A x + 0.3 z with A a rotation by 0.5 rad times 0.95; first coordinate measured with standard
deviation 0.5; prior N(0, I); 100 cycles. The reference is drawn from the exact Kalman posterior.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from ..._typing import Array, Float, Key
from ...dynamics import LinearGaussian
from ...kalman import kalman_filter
from ...numerics import cholesky
from ...observations import GaussianObservation, Select
from ..experiment import Experiment, gaussian_start

NOISE = 0.5


def dynamics() -> LinearGaussian:
    """Return the oscillator."""
    c, s = 0.95 * math.cos(0.5), 0.95 * math.sin(0.5)
    return LinearGaussian([[c, -s], [s, c]], noise_root=0.3)


@functools.partial(jax.jit, static_argnums=2)  # or each of a sweep's seeds would compile it
def exact(key: Key, ys: Float[Array, "t 1"], n: int) -> Float[Array, "t n 2"]:
    """Draw n members per cycle from the Kalman posterior."""
    one = jnp.ones((), ys.dtype)
    result = kalman_filter(
        dynamics(),
        jnp.asarray([[1.0, 0.0]], ys.dtype),
        NOISE**2 * one[None, None],
        jnp.zeros(2, ys.dtype),
        jnp.eye(2, dtype=ys.dtype),
        ys,
    )
    z = jax.random.normal(key, (ys.shape[0], n, 2), ys.dtype)
    roots = cholesky(result.covariance)
    return result.mean[:, None] + jnp.einsum("tij,tnj->tni", roots, z, precision="highest")


def experiment() -> Experiment:
    """Return the experiment."""
    return Experiment(
        name="linear-gaussian",
        summary="linear oscillator, exact Kalman posterior",
        dynamics=dynamics(),
        truth_dynamics=dynamics(),
        observation=GaussianObservation(Select((0,)), NOISE),
        num_cycles=100,
        initial=gaussian_start((0.0, 0.0), 1.0),
        bandwidths={250: (0.1, 0.25)},
        coordinates=("position", "velocity"),
        shown=(0, 1),
        exact=exact,
    )
