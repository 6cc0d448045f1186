"""What the experiments with the Kuramoto–Sivashinsky equation share: a truth, members, a taper."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..._typing import Array, Float, Key
from ...dynamics import KuramotoSivashinsky
from ...ensemble.localisation import Localisation
from ..experiment import InitialLaw
from . import rings

SPIN_UP = 200  # time units
RADIUS = 2 * 3.141592653589793  # the fastest growing wave is 1.41 times as long


def around_attractor(points: int, model: KuramotoSivashinsky, std: float) -> InitialLaw:
    """Return the law of a truth that has run from N(0, I), and of members around it."""

    def draw_start(key: Key) -> Float[Array, " d"]:
        """Draw N(0, I) without its mean, which is conserved and would only move the frame."""
        start = jax.random.normal(key, (points,), jnp.float32)
        return start - jnp.mean(start)

    return rings.around_attractor(draw_start, model, round(SPIN_UP / model.interval), std)


def localisation(points: int, model: KuramotoSivashinsky, every: int) -> Localisation:
    """Return the localisation where every `every`-th point is measured, in points."""
    return rings.localisation(points, every, RADIUS * points / model.length)
