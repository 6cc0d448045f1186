"""Shared fixtures: strict promotion everywhere; both precisions where a test asks for `dtype`."""

from __future__ import annotations

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

pytest_plugins = ("compile_seconds",)  # a table at the end

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.devices()  # JAX starts with one device, whatever a sweep asks for later


@pytest.fixture(autouse=True, scope="module")
def drop_programs():
    """Forget a module's compiled programs after it.

    Each holds memory maps; with those of a whole suite a process comes to the kernel's bound
    (65,530 by default), and the next compilation ends in a segmentation fault.
    """
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Run the test in float32 and, with x64 switched on, in float64."""
    with jax.enable_x64(request.param == "float64"):
        yield jnp.dtype(request.param)


@pytest.fixture
def x64():
    """Run the test with float64 enabled."""
    with jax.enable_x64(True):
        yield jnp.dtype("float64")


@pytest.fixture
def key():
    """One fixed seed."""
    return jax.random.key(20260322)


@pytest.fixture
def large_lorenz96(key):
    """Lorenz-96 in 1000 coordinates, 20 members: `large_lorenz96(cycles)(analysis)` is the RMSE."""

    def problem(cycles):
        d = 1000
        model = kd.Lorenz96(interval=0.05)
        obs = kd.GaussianObservation(kd.Identity(), 1.0)
        truth_key, member_key, run_key = jax.random.split(key, 3)
        start = 8 + jax.random.normal(truth_key, (d,))
        settle = jax.jit(
            lambda x: jax.lax.fori_loop(0, 200, lambda _, x: model.step(key, x, 0.0), x)
        )
        start = settle(start)
        truth, ys = kd.twin_experiment(run_key, model, obs, start, cycles)
        members = start[None] + jax.random.normal(member_key, (20, d))

        def rmse(analysis):
            result = kd.assimilate(run_key, model, obs, analysis, members, ys).raise_if_failed()
            return kd.metrics.rmse(result.mean, truth)

        return rmse

    return problem


@pytest.fixture
def rmse_of_three_runs():
    """`rmse_of_three_runs(experiment, members, analysis)`: means after burn-in, seeds 0 to 2."""

    def runs(experiment, members, analysis):
        values = []
        for seed in range(3):
            twin = experiment.twin(seed, members, experiment.num_cycles, jnp.dtype("float32"))
            result = kd.assimilate(
                jax.random.key(seed), experiment.dynamics, experiment.observation, analysis,
                twin.ensemble, twin.ys,
            )  # fmt: skip
            errors = kd.metrics.rmse(result.mean, twin.truth)[experiment.burn_in :]
            values.append(float(errors.mean()))
        return np.array(values)

    return runs
