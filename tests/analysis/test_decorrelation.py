"""Noise that is correlated and not Gaussian, in the localised schemes."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd

rng = np.random.default_rng(5)
ROOT = 0.3 * rng.normal(size=(4, 4)) + np.eye(4)
ROOT = ROOT / np.linalg.norm(ROOT, axis=1, keepdims=True)
R = ROOT @ ROOT.T  # of unit variances: the symmetric root is that of a problem in units near 1
MEMBERS, MATRIX = rng.normal(size=(9, 4)) + 1, rng.normal(size=(4, 4))
Y = np.array([1.0, -2.0, 3.0, 0.5])
FAR = kd.Localisation(np.arange(4.0), np.arange(4.0), 1e6)


class Elliptic(kd.observations.AbstractAdditive):
    """A density of its own, of a linear prediction: Student-t of the whole vector, or Gaussian."""

    matrix: jax.Array
    r: jax.Array
    stated: jax.Array
    gaussian: bool = eqx.field(static=True, kw_only=True)

    def mean(self, x, t):
        return kd.Linear(self.matrix)(x)

    def covariance(self, m, dtype, t):
        return self.stated

    def sample(self, key, x, t):
        raise NotImplementedError

    def log_likelihood(self, y, x, t):
        known = ~jnp.isnan(y)
        both = known[:, None] & known[None]
        r = jnp.where(both, self.r, jnp.eye(4, dtype=y.dtype))
        e = jnp.where(known, y - self.mean(x, t), 0)
        log_scale = 0.5 * jnp.linalg.slogdet(r)[1]
        freedom = 4 + jnp.sum(known, dtype=y.dtype)
        return -log_scale - 0.5 * freedom * jnp.log1p(e @ jnp.linalg.solve(r, e) / 4)


def analysed(scheme, matrix, r, stated=None, gaussian=False, y=Y):
    """Return the analysis, R stated as it is or in another form."""
    stated = r if stated is None else stated
    parts = jax.tree.map(jnp.asarray, (MEMBERS, y, matrix, r, stated))

    @quick
    def run(members, y, *noise):
        return scheme(jax.random.key(1), members, y, Elliptic(*noise, gaussian=gaussian))[0]

    return np.asarray(run(*parts))


def whitening():
    """Return R^{-1/2}, symmetric."""
    values, axes = np.linalg.eigh(R)
    return axes / np.sqrt(values) @ axes.T


@pytest.mark.parametrize(
    "scheme", [kd.LETKF(FAR), kd.LEnKPF(FAR, kalman_share=0.5)], ids=lambda s: type(s).__name__
)
def test_gaussian_noise_is_that_of_the_whitened_problem(x64, scheme):
    root = whitening()
    found = analysed(scheme, MATRIX, R, gaussian=True)
    expected = analysed(scheme, root @ MATRIX, np.eye(4), np.ones(4), gaussian=True, y=root @ Y)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_transform_counts_correlations_of_any_noise(x64):
    """Where every measurement reaches every coordinate, the LETKF is the ETKF."""
    found = analysed(kd.LETKF(FAR), MATRIX, R)
    np.testing.assert_allclose(found, analysed(kd.ETKF(), MATRIX, R), atol=1e-9)
    assert np.abs(found - analysed(kd.LETKF(FAR), MATRIX, R, np.diag(R))).max() > 0.01


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_weights_are_of_the_density_of_the_measurement_itself(x64, share):
    """What lies off the diagonal of R is in the density, which no whitened y may meet."""
    scheme = kd.LEnKPF(FAR, kalman_share=share)
    found = analysed(scheme, MATRIX, R)
    np.testing.assert_allclose(found, analysed(scheme, MATRIX, R, np.diag(R)), atol=1e-9)
