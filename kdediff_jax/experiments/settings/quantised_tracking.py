"""`quantised-tracking`: an aircraft that circles, its range from three sensors in steps of 1 km.

A coordinated turn in the plane (km, minutes): speed 3 km/min, a circle of radius 4 km around the
origin, one measurement every 10 s for 20 minutes, that is 2.4 rounds. Each sensor reads the
distance with an error of 0.2 km, rounds it to whole kilometres, and reads 10 km for all that is
further: each likelihood is a ring with steep edges, or all that lies outside of one. Setting and
prior, which knows position to 1 km, velocity to 0.5 km/min and turn rate to 0.2 rad/min, are our
own. `EnKPF` takes the density where it is known, as it is here; `benchmarks/accuracy/quantised.py`
gives it the simulator alone.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..._typing import Array, Float, Key, like
from ...dynamics import CoordinatedTurn
from ...numerics import safe_sqrt
from ...observations import QuantisedObservation
from ..experiment import Experiment

SENSORS = ((-6.0, -4.0), (6.0, -4.0), (0.0, 7.0))  # km
START = (4.0, 0.0, 0.0, 3.0, 0.75)
START_STD = (1.0, 1.0, 0.5, 0.5, 0.2)


def ranges(x: Float[Array, " 5"]) -> Float[Array, " 3"]:
    """Return the distance of the target from every sensor."""
    gaps = like(x, SENSORS) - x[None, :2]
    return safe_sqrt(jnp.sum(gaps**2, axis=1))


def initial(key: Key, n: int) -> tuple[Array, Array]:
    """Draw the truth and the members from the prior."""
    truth_key, member_key = jax.random.split(key)
    mean, std = jnp.asarray(START), jnp.asarray(START_STD)
    return (
        mean + std * jax.random.normal(truth_key, (5,)),
        mean[None] + std[None] * jax.random.normal(member_key, (n, 5)),
    )


def experiment() -> Experiment:
    """Return the experiment."""
    model = CoordinatedTurn(velocity_std=0.05, turn_std=0.02, interval=1 / 6)
    return Experiment(
        name="quantised-tracking",
        summary="a circling target, ranges from three sensors rounded to 1 km and cut off at 10",
        dynamics=model,
        truth_dynamics=model,
        observation=QuantisedObservation(ranges, std=0.2, step=1.0, low=0.0, high=10.0),
        num_cycles=120,
        burn_in=20,
        initial=initial,
        bandwidths={100: (0.1, 0.7)},
        coordinates=("east", "north", "velocity east", "velocity north", "turn rate"),
        shown=(0, 1),
        grid={
            "state_bandwidth": (0.02, 0.05, 0.1, 0.2),
            "obs_bandwidth": (0.2, 0.4, 0.7, 1.0, 1.5),
        },
        inflation=1.05,
        jitter=0.5,
        reference_particles=50_000,
    )
