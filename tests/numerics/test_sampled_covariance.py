"""R from few residuals against the matrix that it stands for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick
from stages import with_two_long_axes

import kdediff_jax as kd
from kdediff_jax.numerics import covariance_in_units, masked_covariance, shrunk_rows, variances
from kdediff_jax.numerics import whitened as whitened_by

M, K = 12, 5


def residuals(dtype):
    """Return rows with a constant component, their correlated covariance's root of the number."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(K, M)) @ (np.eye(M) + np.eye(M, k=1)) * np.linspace(0.5, 2, M) / K**0.5
    rows[:, 3] = 0
    return rows, jnp.asarray(rows, dtype), jnp.full(M, 1e-3, dtype)


def shrunk_in_numpy(rows, freedom):
    """Return the shrunk covariance by its matrix."""
    c = rows.T @ rows
    std = np.sqrt(np.where(np.diag(c) > 0, np.diag(c), 1))
    correlation = c / np.outer(std, std)
    trace, squares = np.trace(correlation), np.sum(correlation**2)
    part = ((1 - 2 / M) * squares + trace**2) / ((freedom + 1 - 2 / M) * (squares - trace**2 / M))
    return min(part, 1) * np.diag(np.diag(c)) + (1 - min(part, 1)) * c + 1e-3 * np.eye(M)


def test_rows_are_whitened_by_the_shrunk_covariance(dtype):
    """In other units, two components missing, by a symmetric root in units of the diagonal part."""
    rows, given, floor = residuals(dtype)
    units, measured = np.linspace(0.1, 3, M), np.arange(M) % 7 != 2
    r = masked_covariance(
        covariance_in_units(shrunk_rows(given, floor, 40), jnp.asarray(units, dtype)),
        jnp.asarray(measured),
    )
    expected = shrunk_in_numpy(rows, 40) / np.outer(units, units)
    expected = np.where(np.outer(measured, measured), expected, 0) + np.diag(1.0 * ~measured)
    np.testing.assert_allclose(variances(r), np.diag(expected), rtol=1e-5)
    x = np.random.default_rng(1).normal(size=(4, M))
    found = whitened_by(jnp.asarray(x, dtype), r)
    tolerance = 1e-10 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(
        found @ found.T, x @ np.linalg.solve(expected, x.T), rtol=tolerance, atol=tolerance
    )


class Simulator(kd.observations.AbstractObservation):
    """A linear measurement, the errors of its components correlated with those beside them."""

    matrix: jax.Array

    def sample(self, key, x, t):
        e = jax.random.normal(key, self.matrix.shape[:1], x.dtype)
        return kd.Linear(self.matrix)(x) + (e + 0.5 * jnp.roll(e, 1)) / 1.25**0.5


@pytest.mark.parametrize(
    ("scheme", "noise"),
    [(kd.EnKF, "sampled"), (kd.EnKF, "pairs"), (kd.ETKF, "sampled"), (kd.EnKPF, "sampled")],
)
def test_simulated_noise_of_many_components_has_no_matrix_and_a_posterior(scheme, noise, key):
    """16 members, 300 components, float32: R as it was failed, being singular."""
    n, m = 16, 300
    keys = jax.random.split(key, 4)
    observation = Simulator(jax.random.normal(keys[0], (m, 3)))
    truth = jnp.ones(3)
    start = truth[None] + jax.random.normal(keys[1], (n, 3))
    y = observation.sample(keys[2], truth, 0.0)

    @quick
    def run(start, y):
        return scheme(noise=noise)(keys[3], start, y, observation)

    assert not with_two_long_axes(jax.make_jaxpr(run)(start, y), m)
    analysis, info = run(start, y)
    # errors of 300 components leave a standard deviation of .06 in each of the 3 coordinates
    assert info.ok and np.abs(analysis.mean(axis=0) - truth).max() < 0.25
    assert np.std(analysis, axis=0).max() < 0.25
