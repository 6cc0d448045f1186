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
