r"""The paper's kernel in the coordinates it is used in: own, standardised or whitened ones.

With the state and the measurement in units of their ensemble's spread, one dimensionless pair of
bandwidths means the same on every problem and in every cycle. The density stays the paper's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax.nn import log_softmax
from jax.scipy.special import logsumexp

from .. import kde
from .._checks import choice, count
from .._linalg import solve_lower
from .._typing import Array, Bool, Float, Key
from ..bandwidths import deviations, resolve
from ..leave_one_out import ConditionalLeaveOneOut
from ..samplers import AbstractSampler
from .base import Outcome, with_stand_ins
from .covariance_kernel import floored_root, masked_noise, shrunk
from .gains import dot

COORDINATES = ("own", "standardised", "whitened")


class ProductKernel(eqx.Module):
    """Options of the paper's product kernel, beside its two bandwidths.

    Args:
        coordinates: in which bandwidths are given and distances measured. "own": those of state
            and measurement. "standardised": each divided by its standard deviation over the
            forecast, or over the simulated measurements. "whitened": both turned and scaled to unit
            covariance (shrunk towards the diagonal, so that N <= d works).
        replicates: measurements simulated per member. More of them calm the weights, which are
            then w_i ∝ sum_r exp(-1/2 |(y - y_ir) / h_y|^2).

    Raises:
        ValueError: other coordinates, fewer than one replicate.
    """

    coordinates: str = eqx.field(static=True, default="own")
    replicates: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        """Check the options."""
        choice("coordinates", self.coordinates, COORDINATES)
        count("replicates", self.replicates)


class Frame(NamedTuple):
    """Coordinates z = root^{-1} (x - origin); root is diagonal or lower triangular."""

    origin: Float[Array, " d"]
    root: Float[Array, "d d"]

    def into(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return z."""
        return solve_lower(self.root, (x - self.origin[None]).T).T

    def back(self, z: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Return x."""
        return self.origin[None] + dot(z, self.root.T)


def frame(
    data: Float[Array, "n d"], coordinates: str, measured: Bool[Array, " d"] | None = None
) -> Frame | None:
    """Return the coordinates of some data, None for its own.

    Components that are not measured stand alone, so that they turn no other.
    """
    if coordinates == "own":
        return None
    n = data.shape[0]
    origin = jnp.mean(data, axis=0)
    if coordinates == "standardised":
        return Frame(origin, jnp.diag(deviations(data)))
    anomalies = data - origin[None]
    covariance = shrunk(dot(anomalies.T, anomalies) / (n - 1), n)
    if measured is not None:
        covariance = masked_noise(covariance, measured)
    return Frame(origin, floored_root(covariance))


def condition(
    kernel: ProductKernel,
    bandwidths: tuple[Any, Any],
    sampler: AbstractSampler,
    key: Key,
    forecast: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    predicted: Float[Array, "r n m"],
    y: Float[Array, " m"],
) -> Outcome:
    """Return the analysis of a finite forecast.

    Args:
        kernel: its options.
        bandwidths: of state and measurement, numbers or rules, in the kernel's coordinates.
        sampler: draws from the mixture.
        key: for the sampler.
        forecast: members x_i.
        alive: members of no weight are False.
        predicted: simulated measurements, `r` of every member.
        y: the measurement; NaN components say nothing.
    """
    r, n, m = predicted.shape
    side_by_side, alive = with_stand_ins(jnp.moveaxis(predicted, 0, 1).reshape(n, r * m), alive)
    flat = jnp.moveaxis(side_by_side.reshape(n, r, m), 1, 0).reshape(r * n, m)
    measured = ~jnp.isnan(y)
    state, obs = frame(forecast, kernel.coordinates), frame(flat, kernel.coordinates, measured)
    if state is not None and obs is not None:
        forecast, flat = state.into(forecast), obs.into(jnp.where(measured[None], flat, 0))
        y = jnp.where(measured, obs.into(jnp.where(measured, y, 0)[None])[0], y)
    if isinstance(bandwidths[0], ConditionalLeaveOneOut):
        h_x, h_y = bandwidths[0](forecast, flat[:n])
    else:
        h_x = resolve(bandwidths[0], forecast, "state_bandwidth")
        h_y = resolve(bandwidths[1], flat, "obs_bandwidth", y)
    log_weights = logsumexp(kde.log_weights(y, flat, h_y).reshape(r, n), axis=0)
    log_weights = log_softmax(jnp.where(alive, log_weights, -jnp.inf))
    analysis, stats = sampler(key, n, forecast, log_weights, h_x)
    analysis = analysis if state is None else state.back(analysis)
    valid = stats.ok & jnp.all(h_x > 0) & jnp.all(h_y > 0)  # traced values reach here unchecked
    return Outcome(
        analysis,
        jnp.mean(analysis, axis=0),
        kde.effective_sample_size(log_weights),
        alive,
        stats.num_steps,
        stats.num_rejected,
        valid,
    )
