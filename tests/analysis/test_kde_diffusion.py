"""The paper's method: its weights, bandwidth rules, scalings and replicates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd
from kdediff_jax.observations import sample_ensemble

MATRIX = np.array([[1.0, 0.0, 0.5], [0.0, -1.0, 1.0]])
Y = np.array([0.4, 0.1])
N = 40


def pairs(n=N):
    """Return members and simulated measurements, as NumPy."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.2], [0.0, 0.0, 0.7]])
    return x, x @ MATRIX.T + 0.3 * rng.normal(size=(n, 2))


def mixture(*bandwidths, **settings):
    return kd.KDEDiffusion(*bandwidths, sampler=kd.ExactMixture(), **settings)


def update(scheme, x, simulated, y=Y):
    """Compile anew: a scheme of this module is used once or twice."""
    call = quick(lambda x, p, y: scheme.update(jax.random.key(0), x, p, y))
    return call(*map(jnp.asarray, (x, simulated, y)))


def ess(w):
    w = w / w.sum()
    return 1 / (w**2).sum()


@pytest.mark.parametrize("missing", [False, True])
def test_weights_are_those_of_the_measurements_kernel(x64, missing):
    x, simulated = pairs()
    h_y, y = np.array([0.5, 0.8]), np.array([0.4, np.nan if missing else 0.1])
    _, info = update(mixture(0.5, h_y), x, simulated, y)
    log_w = -0.5 * np.nansum(((y - simulated) / h_y) ** 2, axis=1)
    np.testing.assert_allclose(info.ess, ess(np.exp(log_w)), rtol=1e-10)


@pytest.mark.parametrize("sampler", ["flow", "sde", "mixture"])
def test_draws_are_from_the_conditional_kernel_density(x64, sampler):
    """Mean and covariance of sum_i w_i N(x_i, h_x^2), within the error of its draws."""
    samplers = {
        "flow": kd.ProbabilityFlow(latents="independent"),
        "sde": kd.ReverseSDE(num_steps=40),
        "mixture": kd.ExactMixture("multinomial"),
    }
    n, h_x, h_y = 1500, 0.3, 0.5
    x, simulated = pairs(n)
    out, info = update(kd.KDEDiffusion(h_x, h_y, sampler=samplers[sampler]), x, simulated)
    w = np.exp(-0.5 * (((Y - simulated) / h_y) ** 2).sum(axis=1))
    w = w / w.sum()
    mean, covariance = w @ x, np.cov(x.T, aweights=w, ddof=0) + h_x**2 * np.eye(3)
    z = np.linalg.solve(np.linalg.cholesky(covariance), (np.asarray(out) - mean).T)
    assert info.ok
    assert np.abs(z.mean(axis=1)).max() < 5 / np.sqrt(n)
    assert np.abs(np.cov(z) - np.eye(3)).max() < 5 * np.sqrt(2 / n)


def silverman(data):
    n, d = data.shape
    return (4 / ((d + 2) * n)) ** (1 / (d + 4)) * data.std(axis=0, ddof=1)


def scott(data):
    n, d = data.shape
    return n ** (-1 / (d + 4)) * data.std(axis=0, ddof=1)


def test_rules_are_their_formulas(x64):
    x, simulated = pairs()
    x = x * [1.0, 10.0, 0.1]
    by_rules, _ = update(mixture(kd.Silverman(0.7), kd.Scott(1.2)), x, simulated)
    numbers, _ = update(mixture(0.7 * silverman(x), 1.2 * scott(simulated)), x, simulated)
    np.testing.assert_allclose(by_rules, numbers, rtol=1e-9)


def test_without_bandwidths_it_keeps_half_of_the_members(x64):
    x, simulated = pairs()
    default, info = update(kd.KDEDiffusion(), x, simulated)
    said, _ = update(kd.KDEDiffusion(kd.Silverman(0.5), kd.TargetESS(0.5)), x, simulated)
    np.testing.assert_array_equal(default, said)
    np.testing.assert_allclose(info.ess, N / 2, rtol=1e-3)


def test_a_rule_for_both_bandwidths_is_told_both(x64):
    x, simulated = pairs()

    class Both(kd.AbstractBandwidthPair):
        def __call__(self, x, simulated, y):
            return jnp.std(x) * 0.3, jnp.std(simulated) + jnp.abs(y[0])

    numbers = 0.3 * x.std(), simulated.std() + 0.4
    both, _ = update(mixture(Both()), x, simulated)
    np.testing.assert_allclose(both, update(mixture(*numbers), x, simulated)[0], rtol=1e-9)
    _, info = update(mixture(kd.ConditionalLeaveOneOut()), x, simulated)
    assert info.ok


@pytest.mark.parametrize("missing", [False, True])
def test_standardised_is_a_bandwidth_per_coordinate(x64, missing):
    x, simulated = pairs()
    x, simulated = x * [1.0, 10.0, 0.1] + 5, simulated * [3.0, 0.2]
    y = np.array([1.2, np.nan if missing else 0.02])
    flow = kd.ProbabilityFlow()
    a, info = update(
        kd.KDEDiffusion(0.4, 0.6, scaling="standardised", sampler=flow), x, simulated, y
    )
    each = 0.4 * x.std(axis=0, ddof=1), 0.6 * simulated.std(axis=0, ddof=1)
    b, expected = update(kd.KDEDiffusion(*each, sampler=flow), x, simulated, y)
    np.testing.assert_allclose(info.ess, expected.ess, rtol=1e-9)
    scale = x.std(axis=0)
    # the solver's scale is that of a number in the one, of each coordinate in the other
    gap = np.abs(np.asarray(a) - np.asarray(b)) / scale
    assert gap.mean() < 0.03 and gap.max() < 0.2


@pytest.mark.parametrize("scaling", ["standardised", "whitened"])
def test_numbers_mean_the_same_in_other_units(x64, scaling):
    """Scaled and shifted state and measurement give the scaled and shifted analysis."""
    x, simulated = pairs()
    unit, shift, obs_unit = np.array([100.0, 0.01, 3.0]), [5.0, -100.0, 0.0], np.array([0.1, 50.0])
    scheme = kd.KDEDiffusion(0.4, 0.6, scaling=scaling)
    a, info = update(scheme, x, simulated)
    b, same = update(scheme, x * unit + shift, simulated * obs_unit - 7, Y * obs_unit - 7)
    np.testing.assert_allclose(info.ess, same.ess, rtol=1e-8)
    np.testing.assert_allclose(np.asarray(a) * unit + shift, b, rtol=1e-6, atol=1e-6)


def test_whitened_distances_are_mahalanobis(x64):
    x, simulated = pairs(400)
    simulated = simulated @ np.array([[2.0, 1.0], [0.0, 0.8]])
    y = simulated[3] + 0.01
    _, info = update(kd.KDEDiffusion(0.4, 0.3, scaling="whitened"), x, simulated, y)
    inverse, e = np.linalg.inv(np.cov(simulated.T)), simulated - y
    weights = np.exp(-0.5 * np.einsum("ni,ij,nj->n", e, inverse, e) / 0.3**2)
    # shrinkage moves the covariance by O(1/n)
    np.testing.assert_allclose(info.ess, ess(weights), rtol=0.02)


def test_a_missing_component_turns_no_other(x64):
    x, simulated = pairs()
    scheme = kd.KDEDiffusion(0.4, 0.6, scaling="whitened")
    half, _ = update(scheme, x, simulated, np.array([0.4, np.nan]))
    alone, _ = update(scheme, x, simulated[:, :1], Y[:1])
    np.testing.assert_allclose(half, alone, rtol=1e-7, atol=1e-8)


OBSERVATION = kd.GaussianObservation(kd.Identity(), 0.5)


def test_replicates_are_the_sum_of_their_kernels(x64, key):
    x = jax.random.normal(key, (30, 2), jnp.float64)
    y, h_y = np.array([0.3, -0.2]), 0.4
    call = quick(lambda x: mixture(0.2, h_y, replicates=4)(key, x, y, OBSERVATION))
    predict_key, _ = jax.random.split(key)
    drawn = [sample_ensemble(OBSERVATION, k, x, 0.0) for k in jax.random.split(predict_key, 4)]
    weights = sum(np.exp(-0.5 * ((np.asarray(p) - y) ** 2).sum(1) / h_y**2) for p in drawn)
    np.testing.assert_allclose(call(x)[1].ess, ess(weights), rtol=1e-9)


def test_replicates_calm_the_weights(key):
    """The exact weights are those of R + h_y^2: many replicates come nearer to them."""
    x, y, h_y = jax.random.normal(key, (200, 2)), jnp.array([0.3, -0.2]), 0.3
    exact = ess(np.exp(-0.5 * np.sum((x - y[None]) ** 2, axis=1) / (0.25 + h_y**2)))

    def error(replicates):
        scheme = mixture(0.2, h_y, replicates=replicates)
        sizes = quick(jax.vmap(lambda k: scheme(k, x, y, OBSERVATION)[1].ess))
        return np.sqrt(np.mean((sizes(jax.random.split(key, 10)) / exact - 1) ** 2))

    assert error(16) < 0.5 * error(1)


@pytest.mark.parametrize("scaling", ["standardised", "whitened"])
def test_degenerate_ensembles_are_finite(key, scaling):
    """Fewer members than coordinates, a constant coordinate, members all equal."""
    x = jax.random.normal(key, (12, 4))
    scheme, y = kd.KDEDiffusion(0.4, 0.6, scaling=scaling), jnp.asarray(Y, "float32")
    call = quick(lambda x: scheme.update(key, x, x[:, :2] + 0.1, y))
    for members in (x[:3], x.at[:, 1].set(2.0), jnp.broadcast_to(x[:1], x.shape)):
        out, info = call(members)
        assert info.ok and np.isfinite(out).all()


@pytest.mark.parametrize("sampler", ["flow", "exact"])
def test_traced_bad_bandwidths_are_flagged(sampler):
    schedule = kd.VarianceExploding(tau_max=5.0)
    flow = kd.ProbabilityFlow(schedule=schedule, latents="independent")
    sampler_ = flow if sampler == "flow" else kd.ExactMixture()

    @quick
    def ok(h_x, h_y):
        x = pairs(8)[0].astype("float32")
        scheme = kd.KDEDiffusion(h_x, h_y, sampler=sampler_)
        return scheme.update(jax.random.key(0), x, x[:, :1], jnp.asarray([0.5]))[1].ok

    assert ok(0.5, 0.5)
    for bad in (-0.5, 0.0, np.nan):
        assert not ok(bad, 0.5) and not ok(0.5, bad)
    assert bool(ok(6.0, 0.5)) == (sampler == "exact")  # tau_max below the bandwidth: no flow


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kd.KDEDiffusion(0.0, 1.0), ValueError, "state_bandwidth: .*positive.*0.0"),
        (lambda: kd.KDEDiffusion(1.0, [1, -2]), ValueError, "obs_bandwidth: .*positive.*-2.0"),
        (lambda: kd.KDEDiffusion(float("nan"), 1.0), ValueError, "state_bandwidth: .*finite"),
        (lambda: kd.KDEDiffusion(1.0, True), TypeError, "obs_bandwidth: .*number.*True"),
        (lambda: kd.KDEDiffusion(kd.Scott, 1.0), TypeError, "state_bandwidth: .*number.*Scott"),
        (lambda: kd.KDEDiffusion(kd.TargetESS(), 1.0), TypeError, "state_bandwidth: TargetESS"),
        (
            lambda: kd.KDEDiffusion(kd.ConditionalLeaveOneOut(), 1.0),
            ValueError,
            "obs_bandwidth: expected None",
        ),
        (lambda: kd.KDEDiffusion(1.0, kd.ConditionalLeaveOneOut()), TypeError, "obs_bandwidth"),
        (lambda: kd.KDEDiffusion(scaling="polar"), ValueError, "scaling"),
        (lambda: kd.KDEDiffusion(replicates=0), ValueError, "replicates"),
        (
            lambda: kd.KDEDiffusion(sampler=kd.ExactMixture),
            TypeError,
            "sampler: expected a sampler",
        ),
        (lambda: update(mixture([1.0] * 4, 1.0), *pairs()), ValueError, r"state_bandwidth.*\(3,\)"),
        (lambda: above_tau_max(), ValueError, "tau_max.*0.5.*0.25"),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def above_tau_max():
    sampler = kd.ProbabilityFlow(schedule=kd.VarianceExploding(tau_max=0.25))
    return kd.KDEDiffusion(0.5, 0.5, sampler=sampler)
