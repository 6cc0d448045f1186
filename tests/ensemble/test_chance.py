"""Weights without chance: against a loop, the gain that they give, what chance alone gets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.ensemble.chance import without_chance
from kdediff_jax.ensemble.neighbours import Neighbourhoods, Neighbours


def centred(x):
    return x - x.mean(axis=0, keepdims=True)


def ring(d, **options):
    return kd.Localisation(np.arange(float(d)), np.arange(0.0, d, 2), 2.0, period=d, **options)


def taken_from(near, x, h, noise, shrinkage=1.0):
    signal = jnp.sum(h**2, axis=0) / (len(h) - 1) / noise
    return without_chance(near, x, h, signal, jnp.asarray(shrinkage, x.dtype))


def by_loop(taper, x, h, noise, shrinkage):
    """The weights of every pair of columns, in float64."""
    n, weights = len(x), np.zeros_like(taper)
    signal = h.var(axis=0, ddof=1) / noise
    for j in range(x.shape[1]):
        of_gains = np.sum(taper[j] * signal / (1 + signal)) / (n - 1)
        for k in range(h.shape[1]):
            r2 = np.corrcoef(x[:, j], h[:, k])[0, 1] ** 2
            q = min(1, shrinkage * of_gains * (1 - r2) / ((n - 2) * r2))
            weights[j, k] = taper[j, k] * (1 - q) / (1 + q * signal[k])
    return weights


def test_weights_are_those_of_a_loop_in_tables_and_in_lists(dtype):
    rng = np.random.default_rng(0)
    x = centred(rng.normal(size=(7, 30)) + rng.normal(size=(7, 1)))
    h = centred(x[:, ::2] + 0.5 * rng.normal(size=(7, 15)))
    noise, where = rng.uniform(0.1, 2, 15), ring(30)
    taper = np.asarray(where.taper(30, 15, jnp.dtype(jnp.float32)), float)
    expected = by_loop(taper, x, h, noise, 3.0)
    assert 0.1 < np.mean(expected[taper > 0] / taper[taper > 0]) < 0.9
    arrays = [jnp.asarray(a, dtype) for a in (x, h, noise)]
    for localisation in (where, where.listed()):
        near = localisation.around(arrays[0], arrays[1], None)
        (group,) = taken_from(near, *arrays, 3.0).groups
        found = np.zeros((30, 16))
        listed = np.arange(15)[None] if group.indices is None else group.indices
        np.put_along_axis(found, np.broadcast_to(listed, group.weights.shape), group.weights, 1)
        assert group.weights.dtype == dtype
        np.testing.assert_allclose(found[:, :15], expected, atol=2e-5)
        same = taken_from(near, *arrays, 0.0).groups[0].weights
        np.testing.assert_array_equal(same, near.groups[0].weights)


def test_a_gain_is_multiplied_by_what_is_not_chance(x64):
    """One coordinate, one measurement: P_xh / (P_hh + R / weight)."""
    rng = np.random.default_rng(1)
    h = rng.normal(size=(8, 1))
    x, h = centred(h + rng.normal(size=(8, 1))), centred(h)
    for noise in (0.01, 1.0, 100.0):
        near = Neighbourhoods((Neighbours(jnp.ones((1, 1))),))
        arrays = jnp.asarray(x), jnp.asarray(h), jnp.asarray([noise])
        weight = float(taken_from(near, *arrays, 5.0).groups[0].weights[0, 0])
        xh, hh = np.sum(x * h) / 7, np.sum(h**2) / 7
        r2 = xh**2 / hh / x.var(ddof=1)
        chance = 5 * hh / (hh + noise) / 7 * (1 - r2) / (6 * r2)
        assert 1e-4 < chance < 1
        np.testing.assert_allclose(xh / (hh + noise / weight), (1 - chance) * xh / (hh + noise))


def test_certain_relations_and_weak_measurements_keep_their_tapers(x64):
    rng = np.random.default_rng(2)
    x = jnp.asarray(centred(rng.normal(size=(6, 12))))
    near = ring(12).around(x, x[:, ::2], None)
    (taper,) = (group.weights for group in near.groups)
    (found,) = (g.weights for g in taken_from(near, x, x[:, ::2], jnp.full(6, 1e-3)).groups)
    own = np.arange(0, 12, 2), np.arange(6)
    np.testing.assert_allclose(found[own], taper[own], rtol=1e-9)
    assert float(jnp.mean(found)) < 0.7 * float(jnp.mean(taper))
    (weak,) = (g.weights for g in taken_from(near, x, x[:, ::2], jnp.full(6, 1e9)).groups)
    np.testing.assert_allclose(weak, taper, atol=1e-6)


def test_the_unrelated_are_shrunk_as_students_t_tells(x64):
    """With gains of 1, r^2 of independent columns is that of a t with N - 2 degrees."""
    n, m = 12, 300
    rng = np.random.default_rng(3)
    x, h = (jnp.asarray(centred(rng.normal(size=(n, m)))) for _ in range(2))
    near = Neighbourhoods((Neighbours(jnp.full((m, m), 1e-9)),))
    sure = jnp.full(m, 1e-12)
    of_gains = m * 1e-9 / (n - 1)
    (group,) = taken_from(near, x, h, sure, 1 / of_gains).groups
    t = rng.standard_t(n - 2, size=200_000)
    expected = np.mean(t**2 > 1)  # sure measurements keep a weight where anything is left
    assert abs(float(jnp.mean(group.weights > 0)) - expected) < 4 * 0.5 / m


def test_units_constants_and_gradients(dtype):
    rng = np.random.default_rng(4)
    x = centred(rng.normal(size=(7, 12)))
    x[:, 3] = 0
    scale = 10.0 ** rng.integers(-8, 8, 12)
    near = ring(12).around(jnp.asarray(x, dtype), jnp.asarray(x[:, ::2], dtype), None)

    def weights(x, scale):
        x, scale = jnp.asarray(x, dtype), jnp.asarray(scale, dtype)
        noise = 0.3 * scale[::2] ** 2
        return taken_from(near, x, x[:, ::2], noise).groups[0].weights

    found = weights(x, np.ones(12))
    np.testing.assert_allclose(weights(x * scale, scale), found, rtol=1e-3, atol=1e-5)
    arrays = [jnp.asarray(a, dtype) for a in (x, x[:, ::2], np.full(6, 1e-37))]
    assert jnp.isfinite(taken_from(near, *arrays).groups[0].weights).all()  # exact measurements
    gradient = jax.grad(lambda x: jnp.sum(weights(x, np.ones(12))))(jnp.asarray(x, dtype))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("points", [kd.AnalysisBlocks(3.0), kd.AnalysisGrid(3.0)])
def test_shared_analyses_and_two_members_keep_their_tapers(points):
    x = jax.random.normal(jax.random.key(0), (6, 12))
    x, noise = x - jnp.mean(x, axis=0, keepdims=True), jnp.ones(6)
    shared = ring(12, points=points).listed().around(x, x[:, ::2], None)
    assert taken_from(shared, x, x[:, ::2], noise) is shared
    near = ring(12).around(x, x[:, ::2], None)
    assert taken_from(near, x[:2], x[:2, ::2], noise) is near
    where = kd.CorrelationLocalisation()
    found = where.around(x, x[:, ::2], None)
    one = jnp.ones(())
    assert where.without_chance(found, x, x[:, ::2], noise, one) is found


def test_ten_members_find_what_their_tapers_alone_lose(key):
    """Lorenz-96, every second component measured after .4: far relations are chance."""
    experiment = experiments.load("spantini2019")
    twin = experiment.twin(3, 10, 80, jnp.dtype(jnp.float32))

    @quick
    def error(shrinkage):
        scheme = kd.LEnKPF(experiment.localisation, shrinkage=shrinkage)
        models = experiment.dynamics, experiment.observation
        run = kd.assimilate(key, *models, scheme, twin.ensemble, twin.ys)
        return jnp.mean(kd.metrics.rmse(run.mean, twin.truth)[30:])

    assert error(jnp.ones(())) < 0.8 * error(jnp.zeros(()))
