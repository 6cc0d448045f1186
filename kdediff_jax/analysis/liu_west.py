r"""Artificial evolution of parameters that keeps what is known of them.

A random walk adds variance in every cycle, whatever is known already. The kernel of Liu and West
(2001) moves members apart and draws them together in the same step: with mean m and covariance V
of the parameters' members after the analysis, and a discount delta,

    theta_i' = a theta_i + (1 - a) m + sqrt(1 - a^2) V^{1/2} z_i,   a = (3 delta - 1) / (2 delta),

so that the mean and every variance stay, exactly, and covariances of parameters on average. Members
that resampling has made equal are told apart again.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import latents
from .._checks import concrete, count, has_method
from .._typing import Array, Bool, Float, Key, Number, Scalar, like, tunable
from ..numerics import centred, dot, root_of_rows, safe_sqrt
from ..observations import AbstractObservation
from .base import AbstractAnalysis
from .outcome import Outcome


class LiuWest(AbstractAnalysis):
    """A scheme whose last coordinates, those of constant parameters, get Liu and West's kernel.

    Made for `LEnKPF`, whose weights tell too few members of a parameter apart; `walk_std` of
    `Parameter` is then 0. After a cycle without a measurement nothing is moved.

    Args:
        scheme: of the whole augmented vector.
        num_parameters: number of coordinates at the end, `Augmentation.num_parameters`.
        discount: delta, above 1/3 and at most 1; 1 changes nothing.

    Raises:
        TypeError: no scheme, or a number that is no int.
        ValueError: a number out of range. When called: no coordinate beside the parameters.
    """

    scheme: AbstractAnalysis
    num_parameters: int = eqx.field(static=True)
    discount: Number = tunable(0.98)

    def __check_init__(self) -> None:
        """Check the scheme and the numbers."""
        has_method("scheme", self.scheme, "analyse")
        count("num_parameters", self.num_parameters)
        known = concrete(self.discount)
        if known is not None and not ((known > 1 / 3) & (known <= 1)).all():
            raise ValueError(f"discount: expected above 1/3 and at most 1, got {known.tolist()}")

    @property
    def noise(self) -> Any:
        """The scheme's rule for h and R, None where it has none."""
        return getattr(self.scheme, "noise", None)

    @property
    def replicates(self) -> Any:
        """The scheme's number of measurements per member, None where it has none."""
        return getattr(self.scheme, "replicates", None)

    def analyse(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar,
    ) -> Outcome:
        """Return the scheme's analysis, the parameters' members moved about their mean."""
        if forecast.shape[1] <= self.num_parameters:
            raise ValueError(
                "forecast: expected coordinates beside the parameters "
                f"({self.num_parameters}), got {forecast.shape[1]} in all"
            )
        own, draw = jax.random.split(key)
        outcome = self.scheme.analyse(own, forecast, alive, y, observation, t)
        size = forecast.shape[1] - self.num_parameters
        state, parameters = outcome.ensemble[:, :size], outcome.ensemble[:, size:]
        moved = smoothed(draw, parameters, self.discount)
        return outcome._replace(ensemble=jnp.concatenate([state, moved], axis=1))


def smoothed(key: Key, members: Float[Array, "n k"], discount: Number) -> Float[Array, "n k"]:
    """Return members moved by the kernel, with the same mean and covariance.

    Args:
        key: random key.
        members: of the parameters.
        discount: delta.
    """
    n, k = members.shape
    anomalies, delta = centred(members), like(members, discount)
    shrinkage = (3 * delta - 1) / (2 * delta)
    z = latents.draw(key, n, k, members.dtype, "independent-matched")
    drawn = dot(z, root_of_rows(anomalies / (n - 1) ** 0.5).T)
    moved = shrinkage * anomalies + jnp.sqrt(jnp.maximum(1 - shrinkage**2, 0)) * drawn
    return members - anomalies + _of_covariance(moved, anomalies)


def _of_covariance(
    moved: Float[Array, "n k"], anomalies: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    """Return rows of the spread of others: chance products of members and draws add some."""
    centre = centred(moved)
    size, wanted = (safe_sqrt(jnp.mean(x**2, axis=0, keepdims=True)) for x in (centre, anomalies))
    return centre * wanted / jnp.where(size > 0, size, 1)
