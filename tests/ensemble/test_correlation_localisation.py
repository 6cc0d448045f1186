"""A taper from correlations: against a loop, what chance gives it, a run without positions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd

WHERE = kd.CorrelationLocalisation()


def centred(x):
    return x - x.mean(axis=0, keepdims=True)


def test_weights_are_those_of_a_loop(dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 5))
    h = x[:, :3] + 0.5 * rng.normal(size=(9, 3))
    h[:, 0], x[:, 4] = 2 * x[:, 0], 1.0
    expected = np.zeros((5, 3))
    for j in range(4):
        for k in range(3):
            r2 = np.corrcoef(x[:, j], h[:, k])[0, 1] ** 2
            expected[j, k] = max(0, 1 - 0.7 * (1 - r2) / (7 * r2))
    rows, columns = (jnp.asarray(centred(a), dtype) for a in (x, h))
    found = kd.CorrelationLocalisation(0.7).weights(rows, columns)
    assert found.dtype == dtype and expected[0, 0] == 1
    np.testing.assert_allclose(found, expected, atol=1e-5 if dtype == jnp.float32 else 1e-12)
    units = jnp.asarray([1e9, 1e-9, 1.0, 1.0, 1.0], dtype)
    other = kd.CorrelationLocalisation(0.7).weights(rows * units[None], columns)
    np.testing.assert_allclose(other, found, atol=1e-5)
    gradient = jax.grad(lambda a: jnp.sum(WHERE.weights(a, columns)))(rows)
    assert np.isfinite(gradient).all()


def test_chance_alone_gets_little_weight(x64):
    """Independent columns: t is Student's, of N - 2 degrees of freedom."""
    rng = np.random.default_rng(1)
    x, y = (jnp.asarray(centred(rng.normal(size=(12, 300)))) for _ in range(2))
    found = np.asarray(WHERE.weights(x, y))
    t = rng.standard_t(10, size=400_000)
    expected = np.maximum(0, 1 - 1 / t**2)
    assert abs(found.mean() - expected.mean()) < 4 * expected.std() / 300
    size = WHERE.size_around(x)
    assert abs(size - (1 + 299 * expected.mean())) < 10


def test_without_shrinkage_it_is_the_global_filter(x64, key):
    x, matrix = jax.random.normal(key, (8, 4)), np.array([[1.0, 0.5, 0, 0], [0, 0, 1, -1]])
    observation, y = kd.GaussianObservation(kd.Linear(matrix), 0.5), jnp.ones(2)

    def run(scheme):
        return quick(lambda x: scheme(key, x, y, observation)[0])(x)

    local = run(kd.LETKF(kd.CorrelationLocalisation(0.0), inflation=1.0))
    np.testing.assert_allclose(local, run(kd.ETKF(inflation=1.0)), atol=1e-9)


@pytest.mark.parametrize("make", [kd.LETKF, kd.LEnKPF])
def test_it_keeps_a_run_of_few_members_that_is_lost_without(make):
    model, observation = kd.Lorenz96(interval=0.05), kd.GaussianObservation(kd.Identity(), 1.0)
    start = 8 + jax.random.normal(jax.random.key(0), (40,))
    truth, ys = kd.twin_experiment(jax.random.key(1), model, observation, start, 120)
    members = start[None] + jax.random.normal(jax.random.key(2), (14, 40))

    def error(scheme):
        run = kd.assimilate(jax.random.key(3), model, observation, scheme, members, ys)
        return float(jnp.mean(kd.metrics.rmse(run.mean, truth)[60:]))

    assert error(make(WHERE, rotation_angle=0.5)) < 0.6 < 1.2 < error(kd.ETKF(rotation_angle=0.5))


def test_bad_input_is_named(key):
    with pytest.raises(ValueError, match="shrinkage: expected a finite not negative number"):
        kd.CorrelationLocalisation(-1.0)
    x, observation = jnp.ones((2, 3)), kd.GaussianObservation(kd.Identity(), 1.0)
    with pytest.raises(ValueError, match="expected at least 3 members for correlations, got 2"):
        kd.LETKF(WHERE)(key, x, jnp.zeros(3), observation)
