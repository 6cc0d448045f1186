"""Mixtures as a filtering run meets them: what the benchmarks of one analysis sample from."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kdediff_jax import experiments, kde
from kdediff_jax.experiments.run import run_filter
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
