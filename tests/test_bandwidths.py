"""Bandwidths that choose themselves: what they promise, inside a filter too."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import kdediff_jax as kd
from kdediff_jax.bandwidths import deviations, moment_shrinkage


def test_factors_are_those_of_scipy(dtype):
    x = np.random.default_rng(0).normal(size=(30, 2)).astype(dtype) * dtype.type([1, 50])
    theirs, std = stats.gaussian_kde(x.T), x.std(axis=0, ddof=1)
    for rule, factor in ((kd.Silverman, "silverman_factor"), (kd.Scott, "scotts_factor")):
        wanted = 0.7 * getattr(theirs, factor)() * std
        got = rule(0.7)(jnp.asarray(x))
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_a_constant_coordinate_still_has_a_width():
    x = jnp.stack([jnp.arange(5.0), jnp.full(5, 3.0)], axis=1)
    eps = float(jnp.finfo(x.dtype).eps)
    np.testing.assert_allclose(deviations(x), [np.sqrt(2.5), 3 * eps], rtol=1e-5)
    at_zero = x - jnp.array([[0.0, 3.0]])
    np.testing.assert_allclose(deviations(at_zero), [np.sqrt(2.5), eps * np.sqrt(2.5)], rtol=1e-5)
    np.testing.assert_allclose(deviations(jnp.ones((3, 1))), [eps])
    assert np.isfinite(jax.grad(lambda x: jnp.sum(deviations(x)))(x)).all()


def test_two_rules_are_a_rule_for_the_pair(key):
    x = jax.random.normal(key, (20, 2))
    pair = kd.SeparateBandwidths(kd.Silverman(), kd.FixedBandwidth([0.1, 0.2, 0.3]))
    h_x, h_y = pair(x, jnp.ones((20, 3)), jnp.zeros(3))
    np.testing.assert_array_equal(h_x, kd.Silverman()(x))
    np.testing.assert_array_equal(h_y, jnp.array([0.1, 0.2, 0.3]))


def test_shrunk_centres_and_kernel_have_the_variance_of_the_members(x64):
    h = jnp.array([0.1, 0.6, 1.0, 1.5])
    np.testing.assert_allclose(moment_shrinkage(h), [0.99**0.5, 0.8, 0, 0], rtol=1e-15)
    assert np.isfinite(jax.vmap(jax.grad(moment_shrinkage))(h)).all()  # also at 1


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_target_ess_is_met(key, fraction):
    predicted = jax.random.normal(key, (300, 2))
    y = jnp.array([1.0, 0.5])
    h = eqx.filter_jit(kd.TargetESS(fraction))(predicted, y)
    ess = kd.kde.effective_sample_size(kd.kde.log_weights(y, predicted, h))
    np.testing.assert_allclose(ess, fraction * 300, rtol=0.01)


def test_target_ess_does_not_sharpen_a_weak_measurement(key):
    predicted = jnp.ones((50, 1)) + 1e-3 * jax.random.normal(key, (50, 1))
    h = kd.TargetESS(0.1, smallest=1.0)(predicted, jnp.array([1.0]))
    np.testing.assert_allclose(h, jnp.std(predicted, ddof=1), rtol=1e-4)


def test_rules_run_inside_the_filter(key):
    experiment = kd.Lorenz63(interval=0.1, substeps=10)
    observation = kd.GaussianObservation(kd.Select((2,)), 2.0)
    scheme = kd.KDEDiffusion(state_bandwidth=kd.LeaveOneOut(), obs_bandwidth=kd.TargetESS(0.5))
    truth, ys = kd.twin_experiment(key, experiment, observation, jnp.ones(3), 20)
    ensemble = jax.random.normal(key, (40, 3))
    result = kd.assimilate(key, experiment, observation, scheme, ensemble, ys).raise_if_failed()
    np.testing.assert_allclose(result.info.ess, 20.0, rtol=0.1)
    assert truth.shape == result.mean.shape


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kd.TargetESS(1.5), ValueError, "fraction: expected a number in"),
        (lambda: kd.Silverman(0.0), ValueError, "factor"),
        (lambda: kd.FixedBandwidth(-1.0), ValueError, "bandwidth: expected a finite positive"),
        (lambda: kd.FixedBandwidth([1.0, 2.0])(jnp.ones((4, 3))), ValueError, "bandwidth: "),
        (lambda: kd.KDEDiffusion(kd.TargetESS(), 1.0), TypeError, "state_bandwidth: TargetESS"),
        (lambda: kd.TargetESS()(jnp.ones((4, 3))), TypeError, "TargetESS"),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
