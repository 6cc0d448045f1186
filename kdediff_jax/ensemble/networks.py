r"""Measurements whose places change from time to time: ships, satellites, a network that grows.

The number of components is one for all times, the largest: those that a time lacks are missing
(NaN) in y. So one compiled program serves all cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._checks import count
from .._printing import printed
from .._typing import Array, Bool, Float, Int, Number, Scalar, as_leaf, like
from .._words import counted


class MovingNetwork(eqx.Module):
    """Where the measurement's components are at each time.

    Args:
        times: model times of the measurements [T], increasing.
        places: positions at every time: an array [T m] or [T m a], or one array [m_t] or [m_t a]
            for each time, of as many components as there are then.
        max_components: m, as many as any time may have; None for as many as one has. Another
            network with the same number compiles nothing new.

    Attributes:
        present: which components there are at each time [T m]; the others are somewhere.

    Raises:
        ValueError: times that do not increase, or not by enough for their floating type, another
            number of times, positions that are not finite or of different axes, no component at
            any time, more components than `max_components`.
    """

    times: Number
    places: Number
    present: Bool[Array, "T m"]

    def __init__(self, times: Any, places: Any, *, max_components: int | None = None) -> None:
        known = _of_the_same_axes([np.asarray(each, float) for each in places])
        instants = np.asarray(times, float)
        _check(instants, known)
        largest = max(len(each) for each in known)
        if max_components is None:
            max_components = largest
        count("max_components", max_components)
        if largest > max_components:
            k = int(np.argmax([len(each) for each in known]))
            raise ValueError(
                f"max_components: expected at least {largest}, the components at time "
                f"{instants[k]:g}, got {max_components}"
            )
        padded = np.zeros((len(known), max_components, *known[0].shape[1:]))
        present = np.zeros(padded.shape[:2], bool)
        for k, each in enumerate(known):
            padded[k, : len(each)], present[k, : len(each)] = each, True
        self.times, self.places = as_leaf(instants), as_leaf(padded)
        _check_told_apart(np.asarray(self.times), instants)
        self.present = jnp.asarray(present)

    def __repr__(self) -> str:
        return printed(self)

    def pad(self, values: Sequence[Any]) -> Float[Array, "T m"]:
        """Return measurements, a vector [m_t] for each time, with NaN for components of others.

        Raises:
            ValueError: another number of times, or of components at a time.
        """
        present = np.asarray(self.present)
        if len(values) != len(present):
            raise ValueError(
                f"values: expected a vector for each of {counted(len(present), 'time')}, got "
                f"{len(values)}"
            )
        padded = np.full(present.shape, np.nan)
        for k, each in enumerate(values):
            size = int(present[k].sum())
            if np.shape(each) != (size,):
                raise ValueError(
                    f"values: expected shape ({size},) at time {k}, got {np.shape(each)}"
                )
            padded[k, :size] = each
        return jnp.asarray(padded)

    def index(self, t: Scalar) -> Int[Array, ""]:
        """Return which of the times is nearest."""
        return jnp.argmin(jnp.abs(like(t, self.times) - t))

    def known_at(self, t: Scalar) -> Bool[Array, ""]:
        """Return whether t is one of the times: no further off than half of their least gap.

        Times that t's floating type does not tell apart know none.
        """
        times = like(t, self.times)
        gap = jnp.min(jnp.diff(times, append=jnp.asarray([jnp.inf], times.dtype)))
        return (gap > 0) & (jnp.min(jnp.abs(times - t)) <= 0.5 * gap)

    def at(self, t: Scalar | float) -> tuple[Float[Array, "m *a"], Bool[Array, " m"]]:
        """Return the places at a time, and which components there are: for an operator of yours."""
        k = self.index(jnp.asarray(t, float))
        return jnp.asarray(self.places)[k], self.present[k]


def _of_the_same_axes(places: list[np.ndarray]) -> list[np.ndarray]:
    """Return the places; of none at a time, which has no axes, none with those of the others."""
    axes = next((each.shape[1:] for each in places if each.size), ())
    return [each if each.size else np.zeros((0, *axes)) for each in places]


def _check_told_apart(times: np.ndarray, given: np.ndarray) -> None:
    if not (np.diff(times) > 0).all():
        raise ValueError(
            f"times: expected numbers that {times.dtype} tells apart, got steps of "
            f"{np.diff(given).min():g} at {given[-1]:g} (try: the time since the first)"
        )


def _check(times: np.ndarray, places: list[np.ndarray]) -> None:
    if times.ndim != 1 or times.size == 0 or not np.isfinite(times).all():
        raise ValueError(f"times: expected finite numbers (T,), got shape {times.shape}")
    if not (np.diff(times) > 0).all():
        raise ValueError("times: expected increasing numbers, got others")
    if len(places) != len(times):
        raise ValueError(
            f"places: expected positions for each of {counted(len(times), 'time')}, got "
            f"{len(places)}"
        )
    if not any(each.size for each in places):
        raise ValueError("places: expected a component at one of the times, got none")
    axes = {each.shape[1:] for each in places}
    if len(axes) > 1 or any(each.ndim not in (1, 2) for each in places):
        shapes = sorted({each.shape for each in places})
        raise ValueError(f"places: expected shapes (m,) or (m, a) at every time, got {shapes}")
    for k, each in enumerate(places):
        if not np.isfinite(each).all():
            raise ValueError(
                f"positions: expected finite numbers, got places of time {k} with others"
            )
