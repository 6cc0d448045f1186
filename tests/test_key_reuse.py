"""No random key is used twice, in any filter (JAX's own checker, on the traced program)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.key_reuse._core import check_key_reuse_jaxpr
from schemes import SCHEMES, data, problem

import kdediff_jax as kd


def check(function, *arguments):
    """Raise KeyReuseError where a key is consumed twice; nothing is compiled."""
    check_key_reuse_jaxpr(jax.make_jaxpr(function)(jax.random.key(0), *arguments).jaxpr)


@pytest.mark.parametrize("times", [None, [0.5, 2.5]], ids=["regular", "irregular"])
@pytest.mark.parametrize("name", SCHEMES)
def test_a_run_uses_every_key_once(name, times):
    own, (forecast, y) = problem(name), data(name)
    modules = kd.RandomWalk(), own.observation, SCHEMES[name].build(own)

    def run(key, ensemble, ys):
        return kd.assimilate(key, *modules, ensemble, ys, times=times).mean

    check(run, jnp.asarray(forecast, "float32"), jnp.asarray(np.stack([y, y]), "float32"))


def test_a_twin_uses_every_key_once():
    observation = kd.GaussianObservation(kd.Identity(), 1.0)
    for times in (None, [1.0, 2.5]):

        def run(key, x, times=times):
            return kd.twin_experiment(key, kd.RandomWalk(), observation, x, 2, times=times)

        check(run, jnp.ones(2))


def test_a_key_used_twice_would_be_found():
    def run(key, x):
        return jax.random.normal(key, x.shape) + jax.random.normal(key, x.shape)

    with pytest.raises(jax.errors.KeyReuseError):
        check(run, jnp.ones(2))
