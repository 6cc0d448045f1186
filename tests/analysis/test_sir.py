"""The schemes themselves: gains, resampling, jitter, weights, bandwidth rules, reports."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.analysis.inflation import inflate
from kdediff_jax.observations import sample_ensemble

H = np.array([[1.0, 0.0, 0.5], [0.0, -1.0, 1.0]])
STD = np.array([0.5, 0.8])
Y = np.array([0.7, -0.4])
KEY = 3


def observation():
    return kd.GaussianObservation(kd.Linear(H), STD)


def members(n, dtype="float64"):
    """Return n members with correlated coordinates, as NumPy."""
    root = np.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-0.3, 0.2, 0.7]])
    return (np.random.default_rng(7).normal(size=(n, 3)) @ root.T + 1.0).astype(dtype)


def quick(function):
    """Compile without LLVM's optimisation: most of the cost of a test of this size."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def analyse(analysis, forecast, y=Y, observed=None):
    observed = observed or observation()

    @quick
    def call(forecast, y):
        return analysis(jax.random.key(KEY), forecast, y, observed)

    analysis_members, info = call(jnp.asarray(forecast), jnp.asarray(y))
    assert info.ok
    return np.asarray(analysis_members), info


def kde(**kwargs):
    kwargs = {"state_bandwidth": 0.5, "obs_bandwidth": 0.5, "sampler": kd.ExactMixture(), **kwargs}
    return kd.KDEDiffusion(**kwargs)


@pytest.mark.parametrize("noise", ["known", "sampled"])
def test_enkf_moves_the_mean_by_its_gain(x64, noise):
    x = members(15)
    analysis, info = analyse(kd.EnKF(noise=noise), x)
    if (
        noise == "known"
    ):  # the perturbations are centred: the mean moves by K (y - mean of h), exactly
        predicted, r = x @ H.T, np.diag(STD**2)
    else:
        key = jax.random.key(KEY)
        predicted, r = np.asarray(sample_ensemble(observation(), key, jnp.asarray(x), 0.0)), 0.0
    p = np.cov(np.concatenate([x, predicted], axis=1).T)
    gain = p[:3, 3:] @ np.linalg.inv(p[3:, 3:] + r)
    expected = x.mean(axis=0) + gain @ (Y - predicted.mean(axis=0))
    np.testing.assert_allclose(analysis.mean(axis=0), expected, rtol=1e-12)
    np.testing.assert_allclose(info.mean, expected, rtol=1e-12)
    if noise == "sampled":  # every member is then known
        np.testing.assert_allclose(analysis, x + (Y - predicted) @ gain.T, rtol=1e-11)


def test_enkf_sampled_gain_tends_to_the_known_one(x64):
    x = members(4000)
    known, sampled = (analyse(kd.EnKF(noise=n), x)[0] for n in ("known", "sampled"))
    # both have Kalman's moments up to O(1/sqrt(N)), N = 4000, with variances of about 0.3 here
    assert np.abs(known.mean(axis=0) - sampled.mean(axis=0)).max() < 5 * np.sqrt(2 * 0.3 / 4000)
    assert np.abs(np.cov(known.T) - np.cov(sampled.T)).max() < 5 * 0.3 * np.sqrt(4 / 4000)


def test_enkf_auto_uses_the_known_noise_where_there_is_one():
    class BlackBox(kd.AbstractObservation):
        def sample(self, key, x, t):
            return observation().sample(key, x, t)

    def program(noise, observed):
        def call(x, alive, y):
            key = jax.random.key(0)
            return kd.EnKF(noise=noise).analyse(key, x, alive, y, observed, 0.0).ensemble

        arguments = members(10, "float32"), np.ones(10, bool), np.float32(Y)
        return str(jax.make_jaxpr(call)(*arguments))

    known, sampled = (program(noise, observation()) for noise in ("known", "sampled"))
    assert known != sampled
    assert program("auto", observation()) == known
    assert program("auto", BlackBox()) == program("sampled", BlackBox()) == sampled


@pytest.mark.parametrize("noise", ["known", "sampled"])
def test_enkf_does_not_depend_on_the_units_of_the_measurement(noise):
    x = jnp.asarray(members(15, "float32"))

    @quick
    def call(units):
        observed = kd.GaussianObservation(kd.Linear(H * units[:, None]), STD * units)
        return kd.EnKF(noise=noise)(jax.random.key(KEY), x, Y * units, observed)[0]

    # variances of the components 1e20 apart, in float32
    plain, other = call(jnp.ones(2)), call(jnp.asarray([1e-5, 1e5]))
    np.testing.assert_allclose(other, plain, rtol=1e-3, atol=1e-3)


def test_enkf_with_fewer_members_than_components(x64):
    # P_yy is singular: the pseudo-inverse keeps the update finite and inside the ensemble's span
    x = members(4)
    observed = kd.GaussianObservation(kd.Linear(np.eye(3)[[0, 1, 2, 0, 1, 2]]), 0.5)
    analysis, _ = analyse(kd.EnKF(noise="sampled"), x, np.zeros(6), observed)
    span = (x - x.mean(axis=0, keepdims=True)).T
    move = np.asarray(analysis - x).T
    np.testing.assert_allclose(span @ np.linalg.pinv(span) @ move, move, atol=1e-9)


def test_inflation_scales_the_anomalies_only():
    x = jnp.asarray(members(20, "float32"))

    @quick
    def call(factor):
        return kd.EnKF(inflation=factor)(jax.random.key(KEY), x, Y, observation())[0]

    plain, inflated = call(1.0), call(1.3)
    np.testing.assert_allclose(inflated, inflate(plain, 1.3), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(inflated.mean(axis=0), plain.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(np.cov(inflated.T), 1.69 * np.cov(plain.T), rtol=1e-4, atol=1e-5)


def weights_of(x):
    w = np.exp(-0.5 * (((Y - x @ H.T) / STD) ** 2).sum(axis=1))
    return w / w.sum()


def test_sir_resamples_and_reports_the_weighted_mean(x64):
    x = members(40)
    analysis, info = analyse(kd.SIR(), x)
    w = weights_of(x)
    np.testing.assert_allclose(info.mean, w @ x, rtol=1e-10)
    np.testing.assert_allclose(info.ess, 1 / (w**2).sum(), rtol=1e-10)
    counts = (analysis[:, None] == x[None]).all(axis=2).sum(axis=0)
    assert counts.sum() == 40  # every analysis member is a forecast member,
    assert np.abs(counts - 40 * w).max() < 1  # as often as systematic draws allow


def test_sir_jitter_covariance(x64):
    n, reg = 4000, 0.8
    x = members(n)

    @quick
    def call(jitter, x):
        return kd.SIR(jitter=jitter, jittered="all")(jax.random.key(KEY), x, Y, observation())[0]

    bare, everywhere = (np.asarray(call(jitter, jnp.asarray(x))) for jitter in (0.0, reg))
    w = weights_of(x)
    covariance = np.cov(x.T, aweights=w, ddof=0) * reg**2 * n ** (-2 / (3 + 4))
    z = np.linalg.solve(np.linalg.cholesky(covariance), (everywhere - bare).T)
    # n standard normals: standard errors 1/sqrt(n) of the mean, sqrt(2/n) of a variance
    assert np.abs(z.mean(axis=1)).max() < 5 / np.sqrt(n)
    assert np.abs(np.cov(z) - np.eye(3)).max() < 5 * np.sqrt(2 / n)
    # by default only the second and further copies move, each as it would otherwise
    copies, _ = analyse(kd.SIR(jitter=reg), x)
    moved = (copies != bare).any(axis=1)
    assert n - moved.sum() == len(np.unique(bare, axis=0))
    np.testing.assert_allclose(copies[moved], everywhere[moved], rtol=1e-12)


def test_kde_ess_and_weights(x64):
    x = members(40)
    predicted = x @ H.T

    @quick
    def update(x, predicted):
        return kde(obs_bandwidth=STD).update(jax.random.key(0), x, predicted, jnp.asarray(Y))

    _, info = update(jnp.asarray(x), jnp.asarray(predicted))
    np.testing.assert_allclose(info.ess, 1 / (weights_of(x) ** 2).sum(), rtol=1e-10)
    _, info = analyse(kd.EnKF(), x)
    assert info.ess == 40


def silverman(data):
    n, d = data.shape
    return (4 / ((d + 2) * n)) ** (1 / (d + 4)) * data.std(axis=0, ddof=1)


def scott(data):
    n, d = data.shape
    return n ** (-1 / (d + 4)) * data.std(axis=0, ddof=1)


def test_rules_are_their_formulas(x64):
    x = members(40) * [1.0, 10.0, 0.1]
    predicted, y = x[:, :2] ** 2, jnp.asarray(x[0, :2] ** 2)

    @quick
    def update(x, h_x, h_y):
        analysis = kde(state_bandwidth=h_x, obs_bandwidth=h_y)
        return analysis.update(jax.random.key(0), x, jnp.asarray(predicted), y)[0]

    by_rules = update(jnp.asarray(x), kd.Silverman(0.7), kd.Scott(1.2))
    numbers = jnp.asarray(0.7 * silverman(x)), jnp.asarray(1.2 * scott(predicted))
    np.testing.assert_allclose(by_rules, update(jnp.asarray(x), *numbers), rtol=1e-9)


def test_bandwidth_per_coordinate_is_a_change_of_units(x64):
    x, units = members(12), np.array([1.0, 100.0, 0.01])

    @quick
    def update(x, h_x):
        analysis = kde(state_bandwidth=h_x, sampler=kd.ProbabilityFlow(latents="independent"))
        predicted = jnp.asarray(members(12) @ H.T)
        return analysis.update(jax.random.key(0), x, predicted, jnp.asarray(Y))[0]

    plain = update(jnp.asarray(x), jnp.full(3, 0.4))
    scaled = update(jnp.asarray(x * units), jnp.asarray(0.4 * units))
    # every step is done in scaled coordinates: rounding only
    np.testing.assert_allclose(np.asarray(scaled) / units, plain, rtol=1e-8, atol=1e-8)


SCHEMES = {
    "flow": lambda: kde(sampler=kd.ProbabilityFlow()),
    "sde": lambda: kde(sampler=kd.ReverseSDE()),
    "exact": lambda: kde(),
    "enkf known": lambda: kd.EnKF(),
    "enkf sampled": lambda: kd.EnKF(noise="sampled"),
    "sir": lambda: kd.SIR(),
}


def test_all_schemes_report_the_same_fields(dtype):
    def shapes(make):
        def call(x):
            return make()(jax.random.key(0), x, jnp.asarray(Y, dtype), observation(), 0.0)

        return jax.eval_shape(call, members(10, dtype))

    reports = [shapes(make) for make in SCHEMES.values()]
    assert all(isinstance(info, kd.AnalysisInfo) for _, info in reports)
    kinds = [[(x.shape, x.dtype) for x in jax.tree.leaves(report)] for report in reports]
    assert all(kind == kinds[0] for kind in kinds)
    members_, info = reports[0]
    assert members_.shape == (10, 3) and info.mean.shape == (3,)
    assert info.ess.dtype == dtype and info.ok.dtype == bool and info.num_steps.dtype == jnp.int32


@pytest.mark.parametrize("sampler", ["flow", "exact"])
def test_traced_bad_bandwidths_are_flagged(sampler):
    schedule = kd.VarianceExploding(tau_max=5.0)
    flow = kd.ProbabilityFlow(schedule=schedule, latents="independent")

    @quick
    def ok(h_x, h_y):
        analysis = kde(
            state_bandwidth=h_x,
            obs_bandwidth=h_y,
            sampler=flow if sampler == "flow" else kd.ExactMixture(),
        )
        x = members(8, "float32")
        return analysis.update(jax.random.key(0), x, x[:, :1], jnp.asarray([0.5]))[1].ok

    assert ok(0.5, 0.5)
    for h_x, h_y in [
        (-0.5, 0.5),
        (0.0, 0.5),
        (np.nan, 0.5),
        (0.5, -0.5),
        (0.5, 0.0),
        (0.5, np.nan),
    ]:
        assert not ok(h_x, h_y), (h_x, h_y)
    assert bool(ok(6.0, 0.5)) == (sampler == "exact")  # tau_max below the bandwidth: no flow
