"""Cells of the suite: an experiment, a number of members, perhaps another measurement.

"lorenz63-z:100"; "lorenz63-full:100:laplace:arctan" with Laplace noise and the operator arctan; or
"lorenz96-40:40:laplace" with Laplace noise of the experiment's own standard deviation.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

import kdediff_jax as kd
from kdediff_jax import experiments

CYCLES = 500  # at most
LONGER = {"sakov2008": 600}  # its burn-in is 400


def arctan(x):
    """Measure arctan of every coordinate: saturates."""
    return jnp.arctan(x)


def absolute(x):
    """Measure the absolute value of every coordinate: the sign is lost."""
    return jnp.abs(x)


def cubed(x):
    """Measure the cube of every coordinate, in thousands: steep far out, flat at zero."""
    return x**3 / 1000


NOISES = {
    "gaussian": kd.GaussianObservation,
    "laplace": kd.LaplaceObservation,
    "student-t": kd.StudentTObservation,
}
OPERATORS = {"linear": kd.Identity(), "arctan": arctan, "absolute": absolute, "cubed": cubed}
CELLS = (
    *(f"lorenz96-10:{n}" for n in (50, 100, 250, 1000)),
    *(f"lorenz96-20:{n}" for n in (50, 100, 250)),
    *("lorenz63-full:100", "sakov2012:100", "ramgraber2022:100", "ramgraber2022:200"),
    *("ramgraber2022:400", "bocquet2010:100", "toy-bimodal:100"),
    *(f"lorenz63-z:{n}" for n in (20, 50, 100, 250, 1000)),
    *(f"lorenz63-full:100:{noise}:{operator}" for noise in NOISES for operator in OPERATORS),
    *(f"lorenz96-10:100:{noise}:{operator}" for noise in NOISES for operator in OPERATORS),
    *("lorenz96-40:40", "lorenz96-40:100", "spantini2019:40", "spantini2019:60"),
    *("spantini2019:100", "sakov2008:40", "bao2024:20", "lorenz96-20:1000"),
)


def problem(cell):
    """Return the experiment and the number of members of a cell."""
    name, members, *measurement = cell.split(":")
    experiment = experiments.load(name)
    if measurement:
        observation = remeasured(experiment, *measurement)
        experiment = dataclasses.replace(
            experiment, observation=observation, sir_resampling="systematic"
        )
    return experiment, int(members)


def remeasured(experiment, noise, operator=None):
    """Return another measurement of an experiment."""
    if operator is None:
        own = experiment.observation
        return NOISES[noise](own.operator, own.std)
    h = OPERATORS[operator]
    return NOISES[noise](h, scaled_std(experiment, h))


def cycles_of(experiment):
    """Return how many cycles of an experiment the suite runs."""
    return min(experiment.num_cycles, LONGER.get(experiment.name, CYCLES))


def scaled_std(experiment, operator):
    """Return a quarter of the operator's climatological standard deviation per component."""
    truth = experiment.twin(77, 2, 1000, jnp.dtype(jnp.float32)).truth[100:]
    return jnp.round(0.25 * jnp.std(jax.vmap(operator)(truth), axis=0), 3)
