"""Filtering runs, and mixtures as a run meets them: what the benchmarks of one analysis sample."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

import kdediff_jax as kd
from kdediff_jax import experiments, kde
from kdediff_jax.experiments.run import run_filter
from kdediff_jax.experiments.scores import compiled_scores
from kdediff_jax.experiments.sweeps import ExperimentRun
from kdediff_jax.observations import sample_ensemble

CYCLES = 50


def forecast_and_measurement(output):
    """Store what an analysis starts from."""
    return output.forecast, output.y


def last_forecast(experiment, analysis, members):
    """Return forecast and measurement of cycle 50 of a run of seed 0."""
    twin = experiment.twin(0, members, CYCLES, jnp.dtype(jnp.float32))
    run = run_filter(experiment, analysis, twin, 0, save=forecast_and_measurement)
    forecast, y = (jnp.asarray(value[-1]) for value in run.result.saved)
    return forecast, y


def mixture(name, members):
    """Return (centres, log-weights, state bandwidth) of cycle 50 of an experiment."""
    experiment = experiments.load(name)
    h_x, h_y = experiment.bandwidths_for(members)
    forecast, y = last_forecast(experiment, experiment.filter("kde", members), members)
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


@functools.cache
def unmeasured(name, members, cycles, seeds):
    """Return the energy score of each seed's members when nothing is measured."""
    run = ExperimentRun(experiments.load(name), "enkf", members, num_cycles=cycles, blind=True)
    return kd.sweep(run, {"seed": seeds}).values["energy_score"]
