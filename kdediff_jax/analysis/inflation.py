"""Covariance inflation: by a number, or by what sampling theory says of N members."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._checks import positive
from .._linalg import solve
from .._typing import Array, Float, Number, Scalar, like, tunable


class SamplingInflation(eqx.Module):
    r"""Multiplies the analysis anomalies by sqrt(1 + c DFS / (N - 1)): nothing is tuned.

    DFS = tr(P_hh (P_hh + R)^{-1}) is the number of degrees of freedom that the measurement
    determines. A gain from N members has errors: to leading order they add DFS / (N - 1) of the
    forecast variance to the error of a coordinate that has nothing to do with the measurement, and
    the ensemble variance loses as much to spurious correlation, hence c = 2 (compare Furrer and
    Bengtsson 2007; Sacher and Bartello 2008).

    Args:
        factor: c.
    """

    factor: Number = tunable(2.0)

    def __check_init__(self) -> None:
        """Check the factor."""
        positive("factor", self.factor, zero=True)

    def __call__(
        self, signal: Float[Array, "m m"], noise: Float[Array, "m m"], members: int
    ) -> Scalar:
        """Return the factor of the anomalies, given P_hh and R."""
        return self.of(jnp.trace(solve(signal + noise, signal)), members)

    def of(self, freedom: Scalar, members: int) -> Scalar:
        """Return the factor of the anomalies, given DFS."""
        return jnp.sqrt(1 + like(freedom, self.factor) * jnp.maximum(freedom, 0) / (members - 1))


def inflate(
    ensemble: Float[Array, "n d"], factor: Float[Array, "1 d"] | Scalar | float
) -> Float[Array, "n d"]:
    """Return mean + factor (x_i - mean): the spread grows by `factor`, the mean stays.

    Multiplicative inflation (Anderson and Anderson 1999).
    """
    mean = jnp.mean(ensemble, axis=0, keepdims=True)
    return mean + like(ensemble, factor) * (ensemble - mean)


def check_inflation(value: Any) -> None:
    """Check a field that is a factor or a rule."""
    if not isinstance(value, SamplingInflation):
        positive("inflation", value)


def resolve_inflation(
    value: Any, signal: Float[Array, "m m"], noise: Float[Array, "m m"], members: int
) -> Array:
    """Return the factor that a number or a rule stands for."""
    if isinstance(value, SamplingInflation):
        return value(signal, noise, members)
    return like(signal, value)
