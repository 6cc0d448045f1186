"""Correlated Gaussian noise, as other packages state it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import multivariate_normal

import kdediff_jax as kd
from kdediff_jax.interop.gaussian import CorrelatedGaussian

R = np.array([[0.5, 0.3], [0.3, 0.4]])
X = jnp.array([1.0, -2.0, 0.5])
SEEN = CorrelatedGaussian(kd.Select([0, 2]), jnp.asarray(R))


def test_the_density_is_the_normal_one_and_of_what_is_known():
    y = jnp.array([0.3, 0.9])
    here = multivariate_normal.logpdf(y, X[jnp.array([0, 2])], jnp.asarray(R))
    np.testing.assert_allclose(SEEN.log_likelihood(y, X, jnp.zeros(())), here, rtol=1e-5)
    some = y.at[0].set(jnp.nan)
    alone = multivariate_normal.logpdf(y[1:], X[2:], jnp.asarray(R[1:, 1:]))
    np.testing.assert_allclose(SEEN.log_likelihood(some, X, jnp.zeros(())), alone, rtol=1e-5)
    assert SEEN.log_likelihood(jnp.full(2, jnp.nan), X, jnp.zeros(())) == 0


def test_samples_have_the_mean_and_the_covariance():
    n = 20_000
    keys = jax.random.split(jax.random.key(0), n)
    e = np.asarray(jax.vmap(lambda k: SEEN.sample(k, X, jnp.zeros(())))(keys)) - np.array([1, 0.5])
    error = np.sqrt(np.diag(R) / n)
    assert (abs(e.mean(axis=0)) < 4 * error).all()
    # Var of a product of Gaussians: R_ii R_jj + R_ij^2
    spread = np.sqrt((np.outer(np.diag(R), np.diag(R)) + R**2) / n)
    assert (abs(np.cov(e.T) - R) < 4 * spread).all()


def test_an_operator_of_another_size_is_refused():
    wrong = CorrelatedGaussian(kd.Identity(), jnp.asarray(R))
    with pytest.raises(ValueError, match=r"h\(x\): expected shape \(2,\), got \(3,\)"):
        wrong.mean(X, jnp.zeros(()))
