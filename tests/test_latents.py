"""Latents: standard-normal marginals, low variance, exact moments once matched."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from kdediff_jax import latents

PLAIN = [k for k in latents.KINDS if not k.endswith("-matched")]
EPS = float(np.finfo(np.float32).eps)
REPEATS, N, D = 400, 32, 3


@functools.cache
def many(kind, n=N, d=D):
    """Draws [repeats, n, d] in float32, one key each."""
    draw = jax.jit(jax.vmap(lambda k: latents.draw(k, n, d, jnp.float32, kind)))
    return np.asarray(draw(jax.random.split(jax.random.key(7), REPEATS)), np.float64)


@pytest.mark.parametrize("kind", latents.KINDS)
def test_marginals_are_standard_normal(kind):
    z = many(kind)
    assert z.shape == (REPEATS, N, D) and np.isfinite(z).all()
    # low-variance kinds can only do better than the standard errors of independent draws
    count = REPEATS * N
    assert np.all(np.abs(z.mean(axis=(0, 1))) < 5 / np.sqrt(count))
    assert np.all(np.abs(z.var(axis=(0, 1)) - 1) < 5 * np.sqrt(2 / count))
    cross = np.einsum("rni,rnj->ij", z, z) / count - np.eye(D)
    assert np.abs(cross).max() < 5 * np.sqrt(2 / count)
    if kind in PLAIN:  # one row per key: 400 independent draws (matching bends the law for few n)
        assert stats.kstest(z[:, 5, 1], "norm").pvalue > 1e-3
    else:  # exact in every single draw
        assert np.abs(z.mean(axis=1)).max() < 50 * EPS
        assert np.abs(np.einsum("rni,rnj->rij", z, z) / N - np.eye(D)).max() < 200 * EPS


@pytest.mark.parametrize(("n", "d"), [(32, 3), (250, 20)])
@pytest.mark.parametrize("kind", ["stratified", "quasi"])
def test_low_variance_kinds_integrate_better_than_independent_draws(kind, n, d):
    # the variance of a mean of n independent draws is 1 / n; 0.15 of it is far outside the
    # error of a variance over 400 repeats, sqrt(2 / 400) = 7 %
    assert many(kind, n, d).mean(axis=1).var(axis=0).max() < 0.15 / n


def test_stratified_latents_fill_every_stratum_once():
    place = stats.norm.cdf(many("stratified")) * N
    # float32 may round a draw over its stratum's edge: at the k-th place, within 1e-3 of [k, k + 1]
    gap = np.sort(place, axis=1) - np.arange(N)[None, :, None]
    assert gap.min() > -1e-3 and gap.max() < 1 + 1e-3


def test_quasi_latents_fill_the_plane_evenly():
    # 25 equal cells expect 5 of 125 points each; independent draws vary by 125 (1/25) (24/25) = 4.8
    u = stats.norm.cdf(many("quasi", 125, 2))
    cell = (np.floor(5 * u[..., 0]) * 5 + np.floor(5 * u[..., 1])).astype(int)
    counts = np.stack([np.bincount(c, minlength=25) for c in cell])
    assert np.mean((counts - 5) ** 2) < 4.8 / 4


@pytest.mark.parametrize(("n", "d"), [(8, 3), (300, 20)])
def test_matching_moments_is_exact_and_moves_little(dtype, n, d):
    drawn = np.random.default_rng(0).normal(size=(n, d))
    z = jax.jit(latents.match_moments)(jnp.asarray(drawn, dtype))
    assert z.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    # n = 8 is the fewest that d = 3 allows: the root's condition number enters the rounding
    np.testing.assert_allclose(np.mean(z, axis=0), 0, atol=50 * eps)
    np.testing.assert_allclose(np.asarray(z).T @ np.asarray(z) / n, np.eye(d), atol=200 * eps)
    if n == 300:  # by the errors of the sample moments, sqrt(d / n) a direction
        assert np.sqrt(np.mean((z - drawn) ** 2)) < 2 * np.sqrt(d / n)


@pytest.mark.parametrize("kind", latents.KINDS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_few_draws_are_finite_with_exact_variances(key, kind, n):
    z = latents.draw(key, n, 4, jnp.float32, kind)  # n = 10 would be enough to whiten
    assert z.shape == (n, 4) and z.dtype == jnp.float32 and np.isfinite(z).all()
    if kind not in PLAIN and n > 1:
        np.testing.assert_allclose(np.mean(z, axis=0), 0, atol=50 * EPS)
        np.testing.assert_allclose(np.mean(z**2, axis=0), 1, rtol=50 * EPS)


@pytest.mark.parametrize("kind", latents.KINDS)
def test_latents_have_the_dtype_asked_for(key, dtype, kind):
    shape = jax.eval_shape(lambda k: latents.draw(k, 12, 2, dtype, kind), key)
    assert shape.shape == (12, 2) and shape.dtype == dtype


def test_latents_repeat_with_their_key(key):
    one, two = (latents.draw(key, 8, 2, jnp.float32, "stratified-matched") for _ in range(2))
    other = latents.draw(jax.random.key(1), 8, 2, jnp.float32, "stratified-matched")
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_an_unknown_kind_is_named_with_the_nearest(key):
    with pytest.raises(ValueError, match=r"latents: .*did you mean 'stratified'"):
        latents.draw(key, 4, 2, jnp.float32, "stratfied")
