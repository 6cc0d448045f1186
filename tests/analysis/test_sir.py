"""Sequential importance resampling: exact weights, systematic draws, jitter."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd

MATRIX = np.array([[1.0, 0.0, 0.5], [0.0, -1.0, 1.0]])
STD = np.array([0.5, 0.8])
Y = np.array([0.7, -0.4])
N = 40


def members(n=N):
    """Return n members with correlated coordinates, as NumPy."""
    root = np.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-0.3, 0.2, 0.7]])
    return np.random.default_rng(7).normal(size=(n, 3)) @ root.T + 1.0


def weights_of(x):
    w = np.exp(-0.5 * (((Y - x @ MATRIX.T) / STD) ** 2).sum(axis=1))
    return w / w.sum()


def program(resampling="systematic", jittered="duplicates"):
    """Return the compiled (x, jitter) -> analysis, info."""
    observed = kd.GaussianObservation(kd.Linear(MATRIX), STD)

    def call(x, jitter):
        scheme = kd.SIR(jitter, resampling, jittered)
        return scheme(jax.random.key(3), x, jnp.asarray(Y), observed)

    return quick(call)


@pytest.mark.parametrize("resampling", ["systematic", "stratified", "multinomial"])
def test_it_resamples_and_reports_the_weighted_mean(x64, resampling):
    x = members()
    analysis, info = program(resampling)(x, 0.0)
    w = weights_of(x)
    np.testing.assert_allclose(info.mean, w @ x, rtol=1e-10)
    np.testing.assert_allclose(info.ess, 1 / (w**2).sum(), rtol=1e-10)
    counts = (np.asarray(analysis)[:, None] == x[None]).all(axis=2).sum(axis=0)
    assert counts.sum() == N  # every analysis member is a forecast member
    bound = {"systematic": 1, "stratified": 2, "multinomial": 5 * np.sqrt(N * w * (1 - w)) + 1}
    assert (np.abs(counts - N * w) < bound[resampling]).all()


def test_jitter_covariance(x64):
    n, reg = 4000, 0.8
    x = members(n)
    everywhere = program(jittered="all")
    bare, moved = (np.asarray(everywhere(x, jitter)[0]) for jitter in (0.0, reg))
    w = weights_of(x)
    covariance = np.cov(x.T, aweights=w, ddof=0) * reg**2 * n ** (-2 / (3 + 4))
    z = np.linalg.solve(np.linalg.cholesky(covariance), (moved - bare).T)
    # n standard normals: standard errors 1/sqrt(n) of the mean, sqrt(2/n) of a variance
    assert np.abs(z.mean(axis=1)).max() < 5 / np.sqrt(n)
    assert np.abs(np.cov(z) - np.eye(3)).max() < 5 * np.sqrt(2 / n)
    # by default only the second and further copies move, each as it would otherwise
    copies = np.asarray(program()(x, reg)[0])
    apart = (copies != bare).any(axis=1)
    assert n - apart.sum() == len(np.unique(bare, axis=0))
    np.testing.assert_allclose(copies[apart], moved[apart], rtol=1e-12)


def test_members_that_the_likelihood_cannot_judge_are_left_out(x64):
    class Root(kd.AbstractLikelihood):
        def sample(self, key, x, t):
            return jnp.sqrt(x[:1])

        def log_likelihood(self, y, x, t):
            return -0.5 * jnp.sum((y - jnp.sqrt(x[:1])) ** 2)

    x = np.linspace(-1.0, 4.0, 11)[:, None]
    analysis, info = quick(lambda x: kd.SIR()(jax.random.key(0), x, jnp.ones(1), Root()))(x)
    assert info.ok and info.num_masked == 2 and (np.asarray(analysis) >= 0).all()
    # no member possible at all: a flag
    _, info = quick(lambda x: kd.SIR()(jax.random.key(0), x, jnp.ones(1), Root()))(x - 20)
    assert not info.ok and info.num_masked == 11


class TwoNumbers(kd.AbstractLikelihood):
    def sample(self, key, x, t):
        return x

    def log_likelihood(self, y, x, t):
        return -((y - x) ** 2)


class BlackBox(kd.AbstractObservation):
    def sample(self, key, x, t):
        return x


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        (lambda: kd.SIR(jitter=-0.5), ValueError, "jitter: .*not negative.*-0.5"),
        (lambda: kd.SIR(resampling="sistematic"), ValueError, "did you mean 'systematic'"),
        (lambda: kd.SIR(jittered="every"), ValueError, "jittered"),
        (lambda: call(BlackBox()), TypeError, "observation: .*log_likelihood.*BlackBox"),
        (lambda: call(TwoNumbers()), ValueError, "observation: .*scalar log_likelihood"),
    ],
)
def test_bad_input_is_named(do, error, message):
    with pytest.raises(error, match=message):
        do()


def call(observed):
    return kd.SIR()(jax.random.key(0), jnp.ones((4, 2)), jnp.ones(2), observed)


def test_update_from_log_likelihoods_is_the_analysis_with_that_likelihood(dtype):
    x = jnp.asarray(members(), dtype)
    observed = kd.GaussianObservation(kd.Linear(MATRIX), STD)
    y, t = jnp.asarray(Y, dtype), jnp.zeros((), dtype)
    own = jax.vmap(lambda x: observed.log_likelihood(y, x, t))
    scheme = kd.SIR(jitter=0.4)
    expected, info = scheme(jax.random.key(3), x, y, observed)
    analysis, found = scheme.update(jax.random.key(3), x, own(x) + 1000)  # up to a constant
    assert analysis.dtype == dtype and found.ok and np.isnan(found.normalised_innovation)
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(analysis, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.mean, info.mean, rtol=tolerance)
    np.testing.assert_allclose(found.ess, info.ess, rtol=10 * tolerance)


def test_update_leaves_out_what_cannot_be_judged():
    x = members().astype(np.float32)
    log_likelihoods = np.where(np.arange(N) < 10, -np.inf, np.log(weights_of(x)))
    log_likelihoods[10:13] = np.nan, np.inf, np.nan
    analysis, info = kd.SIR().update(jax.random.key(0), x, jnp.float32(log_likelihoods))
    drawn = {int(np.flatnonzero((x == row).all(axis=1))[0]) for row in np.asarray(analysis)}
    assert info.ok and info.num_masked == 3 and min(drawn) >= 13
    w = np.where(np.arange(N) < 13, 0, weights_of(x))
    np.testing.assert_allclose(info.mean, w @ x / w.sum(), rtol=1e-4)
    # nobody possible: a flag, and the members go on
    analysis, info = kd.SIR().update(jax.random.key(0), x, jnp.full(N, -jnp.inf))
    assert not info.ok and np.isfinite(analysis).all()


def test_update_refuses_pairs():
    x = jnp.asarray(members(), "float32")
    with pytest.raises(ValueError, match=r"log_likelihoods: expected .*got \(40, 2\)"):
        kd.SIR().update(jax.random.key(0), x, jnp.ones((N, 2)))
    with pytest.raises(ValueError, match=r"log_likelihoods: expected shape \(40,\), got \(39,\)"):
        kd.SIR().update(jax.random.key(0), x, jnp.ones(N - 1))
