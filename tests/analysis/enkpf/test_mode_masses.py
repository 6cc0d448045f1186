"""Masses of separate modes: what the weights may change."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd
from kdediff_jax.analysis.enkpf import mode_masses
from kdediff_jax.analysis.predict import Predicted
from kdediff_jax.ensemble.resampling import resample
from kdediff_jax.observations.error_model import ErrorModel

clusters = jax.jit(mode_masses.clusters, static_argnums=2)


def two_modes(seed, n, d, dtype, minor=0.5, distance=10.0):
    """Members in two modes of unit spread, the first `minor` n of them in the first."""
    first = np.arange(n) < round(minor * n)  # NumPy: operations one by one compile one by one
    x = np.random.default_rng(seed).normal(size=(n, d)) + distance * np.where(first, 1, -1)[:, None]
    return jnp.asarray(x, dtype), jnp.asarray(first)


def normal(seed, n, dtype):
    """Standard normal numbers."""
    return jnp.asarray(np.random.default_rng(100 + seed).normal(size=n), dtype)


def mass(log_weights, first):
    """Mass of the members in `first`."""
    return float(jnp.sum(jnp.where(first, jax.nn.softmax(log_weights), 0)))


@quick
def rule(means, log_weights, predictions, y, noise, threshold, alive):
    forecast = Predicted(means, alive, predictions, y, ErrorModel(lambda x: predictions, noise))
    return kd.ModeMasses(threshold)(means, log_weights, forecast, y, noise)


def held(means, log_weights, predictions, y, *, noise=1.0, threshold=9.0, alive=None):
    """Log-weights after the rule, for independent noise."""
    alive = jnp.ones(means.shape[0], bool) if alive is None else alive
    log_weights = jax.nn.log_softmax(log_weights)
    cov = noise * jnp.eye(y.shape[0], dtype=means.dtype)
    return rule(means, log_weights, predictions, y, cov, threshold, alive)


@pytest.mark.parametrize("d", [1, 3, 20])
def test_two_modes_are_found(dtype, d):
    x, first = two_modes(0, 200, d, dtype, 0.3)
    found = clusters(x, jnp.full(200, 1 / 200, dtype), 8)
    assert jnp.all(found.first == first) or jnp.all(found.first == ~first)
    assert found.separation > 5 and found.separation.dtype == dtype


@pytest.mark.parametrize(
    ("draw", "expected"),
    # variance between over within of a halved density: normal 2/pi / (1 - 2/pi), uniform 3
    [(jax.random.normal, 2 / np.pi / (1 - 2 / np.pi)), (jax.random.uniform, 3.0)],
)
def test_separation_of_one_mode(x64, draw, expected):
    x = draw(jax.random.key(1), (4000, 1), jnp.float64)
    found = clusters(x, jnp.full(4000, 1 / 4000, jnp.float64), 8)
    np.testing.assert_allclose(found.separation, expected, rtol=0.05)


def test_clusters_are_free_of_units(x64):
    x, _ = two_modes(0, 100, 2, jnp.float64, 0.3, 3.0)
    w = jax.nn.softmax(normal(1, 100, jnp.float64))
    scaled = clusters(x * jnp.asarray([[1e6, 1e-6]]) + 5.0, w, 8)
    np.testing.assert_allclose(scaled.separation, clusters(x, w, 8).separation, rtol=1e-9)


def test_noise_of_weights_does_not_move_mass(dtype):
    # the weights say nothing of the modes: their means' difference is chance
    x, first = two_modes(2, 100, 3, dtype)
    noise = normal(3, 100, dtype)
    predicted = x[:, :1] ** 2
    new = held(x, noise, predicted, jnp.full(1, 100, dtype), noise=400.0)
    assert abs(mass(noise, first) - 0.5) > 0.02
    np.testing.assert_allclose(mass(new, first), 0.5, atol=1e-5)
    # ratios inside a mode stay
    np.testing.assert_allclose((new - noise)[first], (new - noise)[0], atol=1e-4)
    np.testing.assert_allclose((new - noise)[~first], (new - noise)[-1], atol=1e-4)
    assert new.dtype == dtype


def test_drift_over_many_analyses_stops():
    """Resampling by weights that say nothing loses a mode; held ones do not."""

    def masses(threshold):
        first = jnp.arange(50) < 25
        found = []
        for i in range(60):
            keys = jax.random.split(jax.random.key(i), 3)
            x = jax.random.normal(keys[0], (50, 2)) + jnp.where(first[:, None], 8.0, -8.0)
            log_w = 1.5 * jax.random.normal(keys[1], (50,))
            log_w = held(x, log_w, jnp.zeros((50, 1)), jnp.zeros(1), threshold=threshold)
            first = first[resample(keys[2], log_w, 50)]
            found.append(float(jnp.mean(first)))
        return np.asarray(found)

    assert np.abs(masses(9.0) - 0.5).max() < 0.15
    assert np.abs(masses(0.0) - 0.5).max() > 0.4


def test_clear_evidence_moves_mass(x64):
    # posterior odds e^3 with 1000 members: many standard errors
    x, first = two_modes(4, 1000, 1, jnp.float64)
    log_w = jnp.where(first, 3.0, 0.0) + 0.1 * normal(5, 1000, jnp.float64)
    new = held(x, log_w, jnp.zeros((1000, 1)), jnp.zeros(1))
    assert abs(mass(new, first) - mass(log_w, first)) < 0.01
    assert mass(log_w, first) > 0.94


@pytest.mark.parametrize("members", [1, 3, 9, 50])
def test_a_mode_that_the_measurement_rules_out_dies(x64, members):
    # few members of one mode: the sampling error of its mass cannot show it, the likelihood can
    n = 100
    x, first = two_modes(6, n, 1, jnp.float64, members / n)
    y = jnp.asarray([-10.0])
    log_w = -0.5 * jnp.sum((y[None] - x) ** 2, axis=1)
    new = held(x, log_w, x, y)
    assert mass(new, first) < 1e-6
    # and the other way round: few members take over
    y = jnp.asarray([10.0])
    new = held(x, -0.5 * jnp.sum((y[None] - x) ** 2, axis=1), x, y)
    assert mass(new, first) > 1 - 1e-6


@pytest.mark.parametrize("threshold", [0.0, 9.0])
def test_one_mode_is_left_alone(x64, threshold):
    x = jax.random.normal(jax.random.key(7), (100, 3), jnp.float64)
    log_w = jax.nn.log_softmax(normal(8, 100, jnp.float64))
    new = held(x, log_w, x[:, :1], jnp.ones(1), threshold=threshold)
    np.testing.assert_allclose(new, log_w, rtol=1e-12)


def test_a_threshold_of_zero_keeps_the_weights(x64):
    x, _ = two_modes(9, 60, 2, jnp.float64)
    log_w = jax.nn.log_softmax(normal(8, 60, jnp.float64))
    new = held(x, log_w, x[:, :1] ** 2, jnp.ones(1), threshold=0.0)
    np.testing.assert_allclose(new, log_w, rtol=1e-12)


def test_order_of_members_does_not_matter(x64):
    x, _ = two_modes(10, 50, 2, jnp.float64, 0.4)
    log_w = normal(11, 50, jnp.float64)
    order = jax.random.permutation(jax.random.key(12), 50)
    one = held(x, log_w, x[:, :1] ** 2, jnp.ones(1))
    other = held(x[order], log_w[order], x[order, :1] ** 2, jnp.ones(1))
    np.testing.assert_allclose(other, one[order], rtol=1e-9)


def test_members_of_no_weight_do_not_count(x64):
    x, first = two_modes(13, 60, 2, jnp.float64)
    alive = jnp.arange(60) >= 20  # ten of the first thirty are left
    log_w = jnp.where(alive, normal(11, 60, jnp.float64), -jnp.inf)
    y = jnp.full(2, jnp.nan)
    new = held(x, log_w, x, y, alive=alive)
    np.testing.assert_allclose(mass(new, first), 0.25, rtol=1e-9)
    assert jnp.all(jnp.isneginf(new) == ~alive)
    few = held(x[20:], log_w[20:], x[20:], y)
    np.testing.assert_allclose(new[20:], few, rtol=1e-9)


@pytest.mark.parametrize(
    "means",
    [jnp.zeros((6, 2)), jnp.asarray([[0.0], [0], [0], [0], [0], [1e20]]), jnp.ones((6, 1)) * 1e30],
    ids=["identical", "outlier", "huge"],
)
def test_degenerate_components(means):
    log_w = jnp.asarray([0.0, -1.0, -2.0, -jnp.inf, -500.0, -3.0])
    new = held(means, log_w, jnp.zeros((6, 1)), jnp.zeros(1))
    assert not jnp.any(jnp.isnan(new))
    np.testing.assert_allclose(jnp.sum(jnp.exp(new)), 1, rtol=1e-5)


@pytest.mark.parametrize("minor", [0.5, 0.02])
def test_gradients_are_finite_and_those_of_the_gate_fixed(x64, minor):
    x, _ = two_modes(14, 50, 2, jnp.float64, minor, 4.0)
    log_w = normal(15, 50, jnp.float64)

    @jax.jit
    def total(log_w, x, threshold):
        new = held(x, log_w, jnp.sum(x, axis=1, keepdims=True), jnp.ones(1), threshold=threshold)
        return jnp.sum(jnp.exp(new) * x[:, 0])

    threshold, step = jnp.asarray(0.01, jnp.float64), 1e-6
    slopes = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(log_w, x, threshold)
    for slope in slopes:
        assert jnp.all(jnp.isfinite(slope))
    difference = total(log_w, x, threshold + step) - total(log_w, x, threshold - step)
    np.testing.assert_allclose(slopes[2], difference / (2 * step), rtol=1e-5, atol=1e-9)


def bimodal_masses(threshold, seed, n=60):
    """Masses of x = +5 over cycles of |x| measured, with a forecast that only shakes."""
    x, _ = two_modes(seed, n, 1, jnp.float32, 0.5, 5.0)
    observation = kd.GaussianObservation(jnp.abs, 1.0)
    scheme = kd.EnKPF(mode_masses=kd.ModeMasses(threshold))

    def cycle(x, key):
        keys = jax.random.split(key)
        x = scheme(keys[0], x, jnp.asarray([5.0]), observation)[0]
        x = 5 * jnp.sign(x) + jax.random.normal(keys[1], x.shape)
        return x, jnp.mean(x > 0)

    keys = jax.random.split(jax.random.key(seed + 100), 40)
    return jax.lax.scan(cycle, x, keys)[1]


def test_the_untuned_filter_keeps_two_equal_modes():
    masses = quick(jax.vmap(lambda threshold: bimodal_masses(threshold, 3)))
    kept, drifted = np.abs(np.asarray(masses(jnp.asarray([9.0, 0.0]))) - 0.5).max(axis=1)
    assert kept < 0.2
    assert drifted > kept


def test_missing_components_do_not_witness():
    """The second witness hears the measured components alone."""
    x, first = two_modes(6, 60, 2, jnp.float32, 3 / 60)
    log_w = -0.5 * (x[:, 0] + 10) ** 2
    y = jnp.asarray([-10.0, jnp.nan])
    alone = held(x, log_w, x[:, :1], y[:1])
    np.testing.assert_allclose(held(x, log_w, x, y), alone, rtol=1e-5, atol=1e-5)
    assert mass(alone, first) < 1e-5


@pytest.mark.parametrize(
    ("field", "value"),
    [("threshold", -1.0), ("separation", (0.0, 5.0)), ("odds", 0.0), ("smallest_mass", 0.0)],
)
def test_bad_options_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        kd.ModeMasses(**{field: value})
