"""The experiments: what they promise, and that the bimodal ones show two modes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax import experiments, metrics
from kdediff_jax.experiments import run as running


@pytest.mark.parametrize("name", experiments.CATALOGUE)
def test_every_experiment_is_complete(name):
    experiment = experiments.load(name)
    assert experiment.name == name and experiment.summary == experiments.CATALOGUE[name]
    twin = experiment.twin(0, 7, 3, jnp.dtype(jnp.float32))
    d = len(experiment.coordinates)
    assert twin.truth.shape == (3, d) and twin.ensemble.shape == (7, d)
    assert twin.ys.shape[0] == 3 and max(experiment.shown) < d
    assert experiment.burn_in < experiment.num_cycles
    for filter_name in experiments.FILTERS:
        if filter_name in ("lenkpf", "letkf") and experiment.localisation is None:
            continue
        analysis = experiment.filter(filter_name, 7)
        members, info = jax.eval_shape(  # traced only: compiling them all takes minutes
            lambda *args, a=analysis: a(*args, experiment.observation, jnp.zeros(())),
            jax.random.key(0), twin.ensemble, twin.ys[0],
        )  # fmt: skip
        assert members.shape == (7, d) and info.mean.shape == (d,)


def test_truth_and_measurements_do_not_depend_on_the_members():
    experiment = experiments.load("lorenz63-z")
    small, large = (experiment.twin(4, n, 5, jnp.dtype(jnp.float32)) for n in (10, 30))
    np.testing.assert_array_equal(small.ys, large.ys)
    other = experiment.twin(5, 10, 5, jnp.dtype(jnp.float32))
    assert not np.allclose(small.ys, other.ys)


def test_unknown_experiment_suggests():
    with pytest.raises(ValueError, match="did you mean 'lorenz63-z'"):
        experiments.load("lorenz63_z")


@pytest.fixture(scope="module")
def bimodal():
    """`lorenz63-z` over 100 cycles with a small reference, all filters."""
    experiment = dataclasses.replace(experiments.load("lorenz63-z"), reference_particles=20_000)
    twin = experiment.twin(1, 250, 100, jnp.dtype(jnp.float32))
    posterior = running.reference(experiment, twin, 1)
    runs = {
        name: running.run_filter(experiment, experiment.filter(name, 250), twin, 1)
        for name in ("kde", "enkf", "sir")
    }
    return experiment, twin, posterior, runs


@pytest.mark.slow
def test_method_beats_the_baselines_in_w2():
    """W2 averaged over six simulations and five moments each: below EnKF's and SIR's.

    One simulation is not enough: the weights of the two lobes wander in every filter.
    """
    experiment = experiments.load("lorenz63-z")
    moments = np.arange(19, 100, 20)

    def ensembles(seed, analysis, members):
        state_key, run_key, filter_key = jax.random.split(jax.random.key(seed), 3)
        x0, ensemble = experiment.initial(state_key, members)
        _, ys = kd.twin_experiment(
            run_key, experiment.truth_dynamics, experiment.observation, x0, 100
        )
        result = kd.assimilate(
            filter_key,
            experiment.dynamics,
            experiment.observation,
            analysis,
            ensemble,
            ys,
            save=running.save_subset,
        )
        return result.saved[moments]

    seeds = jnp.arange(6)

    def of_all(analysis, members):
        return np.asarray(jax.jit(jax.vmap(lambda s: ensembles(s, analysis, members)))(seeds))

    posterior = of_all(kd.SIR(resampling="multinomial"), 20_000)[:, :, :1000]
    w2 = {}
    for name in ("kde", "enkf", "sir"):
        found = of_all(experiment.filter(name, 250), 250)
        w2[name] = np.mean(
            [
                metrics.wasserstein2(a, b)
                for a, b in zip(
                    found.reshape(-1, 250, 3), posterior.reshape(-1, 1000, 3), strict=True
                )
            ]
        )
    print(w2)
    assert w2["kde"] < w2["enkf"] and w2["kde"] < w2["sir"], w2


@pytest.mark.slow
def test_two_modes_at_the_bimodal_moment(bimodal):
    """Both lobes hold members of the method and of the reference; SIR has collapsed to one."""
    _, _, posterior, runs = bimodal
    moment = running.most_bimodal(posterior, 0)
    share = {name: np.mean(run.result.saved[moment][:, 0] > 0) for name, run in runs.items()}
    assert 0.2 < np.mean(posterior[moment][:, 0] > 0) < 0.8
    assert 0.1 < share["kde"] < 0.9, share
    middle = np.mean(np.abs(runs["kde"].result.saved[moment][:, 0]) < 2)
    assert middle < 0.1  # two modes, not one broad hump


def test_toy_keeps_both_modes():
    experiment = experiments.load("toy-bimodal")
    twin = experiment.twin(0, 250, 20, jnp.dtype(jnp.float32))
    run = running.run_filter(experiment, experiment.filter("kde", 250), twin, 0)
    positive = np.mean(run.result.saved[:, :, 0] > 0, axis=1)
    assert (positive > 0.1).all() and (positive < 0.9).all()


def test_chunks_repeat_one_run_and_report_progress():
    experiment = experiments.load("linear-gaussian")
    twin = experiment.twin(0, 10, 12, jnp.dtype(jnp.float32))
    heard = []
    run = running.run_filter(
        experiment, experiment.filter("enkf", 10), twin, 0, progress=heard.append
    )
    assert sum(heard) == 12 and len(heard) > 1
    whole = kd.assimilate(
        jax.random.fold_in(jax.random.key(0), 2),
        experiment.dynamics,
        experiment.observation,
        experiment.filter("enkf", 10),
        twin.ensemble,
        twin.ys,
        save=kd.save_ensembles,
    )
    np.testing.assert_allclose(run.result.saved, whole.saved, atol=1e-5)


def test_exact_reference_is_the_kalman_posterior():
    """Draws of the linear experiment's reference: mean error of EnKF with many members is small."""
    experiment = experiments.load("linear-gaussian")
    twin = experiment.twin(0, 4000, 10, jnp.dtype(jnp.float32))
    posterior = running.reference(experiment, twin, 0)
    run = running.run_filter(experiment, experiment.filter("enkf", 4000), twin, 0)
    # both means have a standard error of about spread / sqrt(2000)
    spread = posterior.std(axis=1)
    error = np.abs(run.result.saved.mean(axis=1) - posterior.mean(axis=1))
    assert (error < 5 * spread * np.sqrt(1 / 2000 + 2 / 4000)).all()
