"""Bandwidth rules: kernel widths from the ensemble itself, inside the compiled cycle.

A rule for one bandwidth is an `AbstractBandwidth`; a number is one too (`FixedBandwidth`). A rule
for the pair of state and measurement bandwidth is an `AbstractBandwidthPair`; two rules for one
bandwidth each make one (`SeparateBandwidths`).
"""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax

from . import kde
from ._checks import concrete, per_coordinate, positive
from ._printing import printed
from ._typing import Array, Float, Number, Scalar, like, tunable
from .numerics import bisect, safe_sqrt


class AbstractBandwidth(eqx.Module):
    """A rule that takes the place of a number wherever a bandwidth is asked for."""

    def __repr__(self) -> str:
        return printed(self)

    @abc.abstractmethod
    def __call__(
        self, data: Float[Array, "n d"], y: Float[Array, " d"] | None = None
    ) -> Float[Array, "*d"]:
        """Return one bandwidth, or one per coordinate, for equally weighted data.

        Args:
            data: members, or their simulated measurements.
            y: the measurement, where the data are simulated measurements.
        """


class FixedBandwidth(AbstractBandwidth):
    """The same bandwidth in every cycle; a number given as a bandwidth becomes this.

    Args:
        value: a number, or one per coordinate, in the units of the data.
        name: of the argument, for its errors.

    Raises:
        ValueError: a value that is not positive, or (when called) of another size than the data.
    """

    value: Number = tunable()
    name: str = eqx.field(static=True, default="bandwidth")

    def __check_init__(self) -> None:
        """Check the value."""
        positive(self.name, self.value)

    def __call__(
        self, data: Float[Array, "n d"], y: Float[Array, " d"] | None = None
    ) -> Float[Array, "*d"]:
        """Return the value."""
        per_coordinate(self.name, self.value, data.shape[1])
        return like(data, self.value)


class Silverman(AbstractBandwidth):
    r"""h_j = factor (4 / ((d + 2) n))^(1 / (d + 4)) std_j (Silverman 1986, Eq. 4.14).

    Optimal for Gaussian data at factor 1; a clearly multimodal density wants less.

    Args:
        factor: a number without units.

    Raises:
        ValueError: a factor that is not positive.
    """

    factor: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the factor."""
        positive("factor", self.factor)

    def __call__(
        self, data: Float[Array, "n d"], y: Float[Array, " d"] | None = None
    ) -> Float[Array, " d"]:
        """Return the bandwidths."""
        n, d = data.shape
        return like(data, self.factor) * silverman(n, d) * deviations(data)


class Scott(AbstractBandwidth):
    """h_j = factor n^(-1 / (d + 4)) std_j (Scott 1992, Eq. 6.42).

    Args:
        factor: a number without units.

    Raises:
        ValueError: a factor that is not positive.
    """

    factor: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the factor."""
        positive("factor", self.factor)

    def __call__(
        self, data: Float[Array, "n d"], y: Float[Array, " d"] | None = None
    ) -> Float[Array, " d"]:
        """Return the bandwidths."""
        n, d = data.shape
        return like(data, self.factor) * n ** (-1 / (d + 4)) * deviations(data)


class TargetESS(AbstractBandwidth):
    r"""A measurement bandwidth: std_j of the predictions times the number that gives ESS = f N.

    The kernel effective sample size grows with the bandwidth; bisection over its logarithm,
    O(N m) an evaluation. Where even `smallest` leaves more members, `smallest` it is: a
    measurement that says little is not made to say more.

    Args:
        fraction: f, in (0, 1).
        smallest, largest: bounds of the number.

    Raises:
        ValueError: a number out of range.
        TypeError: (when called) it was given as state bandwidth, where there is no measurement.
    """

    fraction: Number = tunable(0.5)
    smallest: Number = tunable(0.05)
    largest: Number = tunable(100.0)

    def __check_init__(self) -> None:
        """Check the numbers."""
        for name in ("fraction", "smallest", "largest"):
            positive(name, getattr(self, name))
        known = concrete(self.fraction)
        if known is not None and not (known < 1).all():
            raise ValueError(f"fraction: expected a number in (0, 1), got {known.tolist()}")

    def __call__(
        self, data: Float[Array, "n d"], y: Float[Array, " d"] | None = None
    ) -> Float[Array, " d"]:
        """Return one bandwidth per component; constant in the data where differentiated."""
        if y is None:
            raise TypeError("state_bandwidth: TargetESS is a rule for the measurement bandwidth")
        std = deviations(data)
        target = like(data, self.fraction) * data.shape[0]

        def too_small(log_factor: Scalar) -> Array:
            log_weights = kde.log_weights(y, data, jnp.exp(log_factor) * std)
            return ~(kde.effective_sample_size(log_weights) >= target)

        bounds = jnp.log(like(data, self.smallest)), jnp.log(like(data, self.largest))
        _, high = bisect(too_small, *bounds, halvings=20)
        return lax.stop_gradient(jnp.exp(high) * std)


class AbstractBandwidthPair(eqx.Module):
    """A rule for the bandwidths of state and measurement together."""

    def __repr__(self) -> str:
        return printed(self)

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "n d"], simulated: Float[Array, "k m"], y: Float[Array, " m"]
    ) -> tuple[Float[Array, "*d"], Float[Array, "*m"]]:
        """Return (h_x, h_y).

        Args:
            x: members.
            simulated: measurements, one or more of every member, all first ones first.
            y: the measurement.
        """


class SeparateBandwidths(AbstractBandwidthPair):
    """One rule for the state and one for the measurement.

    Args:
        state: rule of h_x.
        obs: rule of h_y.
    """

    state: AbstractBandwidth
    obs: AbstractBandwidth

    def __call__(
        self, x: Float[Array, "n d"], simulated: Float[Array, "k m"], y: Float[Array, " m"]
    ) -> tuple[Float[Array, "*d"], Float[Array, "*m"]]:
        """Return what each rule says."""
        return self.state(x), self.obs(simulated, y)


def as_bandwidth(value: Any, name: str) -> AbstractBandwidth:
    """Return a number, or one per coordinate, as `FixedBandwidth`; a rule as it is."""
    if isinstance(value, AbstractBandwidth):
        return value
    if isinstance(value, AbstractBandwidthPair):
        raise TypeError(f"{name}: expected a number or a rule for one bandwidth, got {value!r}")
    return FixedBandwidth(value, name)


def moment_shrinkage(width: Scalar) -> Scalar:
    """Return sqrt(1 - h^2), by which centres shrink so that a kernel of width h adds no variance.

    0 from h = 1 on, where the root has an infinite slope. West 1993.
    """
    return safe_sqrt(1 - width**2)


def silverman(n: int, d: int) -> float:
    """Return Silverman's width for n draws of N(0, I) in d dimensions."""
    return (4 / ((d + 2) * n)) ** (1 / (d + 4))


def deviations(data: Float[Array, "n d"]) -> Float[Array, " d"]:
    """Return the standard deviation of each coordinate, never zero."""
    std = safe_sqrt(jnp.var(data, axis=0, ddof=1))
    # a constant coordinate still needs a positive width: the rounding of its value, or of the
    # smallest of the others, or of 1
    eps = jnp.finfo(data.dtype).eps
    smallest = jnp.min(jnp.where(std > 0, std, jnp.inf))
    smallest = jnp.where(jnp.isfinite(smallest), smallest, 1)
    value = jnp.abs(data[0])
    return jnp.maximum(std, eps * jnp.where(value > 0, value, jnp.where(std > 0, 0, smallest)))
