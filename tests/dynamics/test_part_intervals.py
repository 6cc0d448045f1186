"""A step of a part of the interval: two halves are the whole, noise by the root of the part."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.dynamics import (
    CoordinatedTurn,
    KuramotoSivashinsky,
    Lorenz05II,
    LotkaVolterra,
    NavierStokes,
)
from kdediff_jax.dynamics.lorenz84 import Lorenz84
from kdediff_jax.dynamics.propagate import takes_interval

MODELS = {
    "lorenz63": (lambda **kw: kd.Lorenz63(interval=0.05, substeps=40, **kw), [1.5, -1.5, 25.0]),
    "lorenz84": (lambda **kw: Lorenz84(substeps=40, **kw), [1.0, 0.5, -0.5]),
    "lorenz96": (lambda **kw: kd.Lorenz96(substeps=40, **kw), 8 + np.sin(np.arange(7.0))),
    "lotka": (lambda **kw: LotkaVolterra(interval=1.0, substeps=40, **kw), [0.3, 0.4, 0.5, 0.2]),
    "flames": (
        lambda **kw: KuramotoSivashinsky(length=22.0, interval=0.5, substeps=20, **kw),
        np.cos(2 * np.pi * np.arange(16) / 16),
    ),
    "lorenz05": (
        lambda **kw: Lorenz05II(2, 8.0, substeps=40, **kw),
        8 + np.sin(2 * np.pi * np.arange(8.0) / 8),
    ),
    "eddies": (
        lambda **kw: NavierStokes(0.1, substeps=10, **kw),
        np.add.outer(np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 2)).ravel(),
    ),
    "turn": (lambda noise_std=0.0: CoordinatedTurn(noise_std, noise_std), np.linspace(0.5, 2, 5)),
    "walk": (lambda **kw: kd.RandomWalk(**{"noise_std": 0.0, **kw}), [1.0, 2.0]),
}


@pytest.mark.parametrize("name", MODELS)
def test_parts_of_an_interval_are_the_whole(name, dtype, key):
    build, x = MODELS[name]
    model, x = build(), jnp.asarray(x, dtype)
    assert takes_interval(model)
    part = jax.jit(lambda x, h: model.step(key, x, jnp.zeros((), dtype), interval=h))
    whole = model.step(key, x, jnp.zeros((), dtype))
    length = float(model.interval)
    small = 1e-9 if dtype == "float64" else 1e-4
    full, halves = jnp.asarray(length, dtype), jnp.asarray(length / 2, dtype)
    np.testing.assert_allclose(part(x, full), whole, rtol=small, atol=small)
    # the integrator's own error is of fourth order in steps of a fortieth
    twice = part(part(x, halves), halves)
    np.testing.assert_allclose(twice, whole, rtol=1e-6 + small, atol=1e-6 + small)
    assert part(x, full).dtype == dtype


@pytest.mark.parametrize("name", MODELS)
def test_noise_of_a_part_is_that_of_its_length(name, x64, key):
    build, x = MODELS[name]
    x = jnp.asarray(x)
    model, still = build(noise_std=0.3), build(noise_std=0.0)
    quarter = float(model.interval) / 4

    def noise(model, **interval):
        return model.step(key, x, jnp.zeros(()), **interval)

    whole = noise(model) - noise(still)
    h = jnp.asarray(quarter)
    part = noise(model, interval=h) - noise(still, interval=h)
    np.testing.assert_allclose(part, whole / 2, rtol=1e-9, atol=1e-12)


def test_maps_have_whole_intervals_only():
    assert not takes_interval(kd.LinearGaussian(np.eye(2)))
