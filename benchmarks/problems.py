"""Mixtures as a filtering run meets them: what the benchmarks of one analysis sample from."""

from __future__ import annotations

import jax
import jax.numpy as jnp

import kdediff_jax as kd
from kdediff_jax import experiments, kde
from kdediff_jax.experiments.run import run_filter
from kdediff_jax.experiments.scoring import compiled_scores
from kdediff_jax.observations import sample_ensemble

CYCLES = 50


def forecast_and_measurement(output):
    """Store what an analysis starts from."""
    return output.forecast, output.y


def mixture(name, members):
    """Return (centres, log-weights, state bandwidth) of cycle 50 of an experiment."""
    experiment = experiments.load(name)
    h_x, h_y = experiment.bandwidths_for(members)
    analysis = experiment.filter("kde", members)
    twin = experiment.twin(0, members, CYCLES, jnp.dtype(jnp.float32))
    run = run_filter(experiment, analysis, twin, 0, save=forecast_and_measurement)
    forecast, y = (jnp.asarray(value[-1]) for value in run.result.saved)
    predicted = sample_ensemble(experiment.observation, jax.random.key(9), forecast, 0.0)
    return forecast, kde.log_weights(y, predicted, h_y), h_x


def scored_run(experiment, analysis, members, seed, cycles=None):
    """Return the scores of one run of an analysis, of at most `cycles`; for the compiled path."""
    cycles = min(experiment.num_cycles, cycles or experiment.num_cycles)
    twin = experiment.twin(seed, members, cycles, jnp.dtype(jnp.float32))
    result = kd.assimilate(
        jax.random.fold_in(jax.random.key(seed), 2), experiment.dynamics,
        experiment.observation, analysis, twin.ensemble, twin.ys, save=kd.save_ensembles,
    )  # fmt: skip
    first = min(experiment.burn_in, cycles - 1)
    return compiled_scores(result.saved, result.info, twin.truth, first)


def arctan(x):
    """Measure arctan of every coordinate: saturates."""
    return jnp.arctan(x)


def absolute(x):
    """Measure the absolute value of every coordinate: the sign is lost."""
    return jnp.abs(x)


def cubed(x):
    """Measure the cube of every coordinate, in thousands: steep far out, flat at zero."""
    return x**3 / 1000


def scaled_std(experiment, operator):
    """Return a quarter of the operator's climatological standard deviation per component."""
    truth = experiment.twin(77, 2, 1000, jnp.dtype(jnp.float32)).truth[100:]
    return jnp.round(0.25 * jnp.std(jax.vmap(operator)(truth), axis=0), 3)
