"""CRPS and energy score against double sums and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import metrics


def pairwise_mean(x):
    return np.linalg.norm(x[:, None] - x[None, :], axis=-1).mean()


def brute_crps(x, y, fair):
    n = len(x)
    pairs = np.abs(x[:, None] - x[None, :]).sum() / (n * (n - 1) if fair else n * n)
    return np.abs(x - y).mean() - 0.5 * pairs


@pytest.mark.parametrize("fair", [False, True])
@pytest.mark.parametrize("n", [2, 3, 20])
def test_crps_equals_the_double_sum(dtype, n, fair, sample, tolerance):
    x, y = sample(dtype, 2, 3, n, 4), sample(dtype, 2, 3, 4, seed=1)
    got = metrics.crps(jnp.asarray(x), jnp.asarray(y), fair=fair)
    want = [
        [[brute_crps(x[s, t, :, k], y[s, t, k], fair) for k in range(4)] for t in range(3)]
        for s in range(2)
    ]
    assert got.shape == (2, 3, 4) and got.dtype == dtype
    np.testing.assert_allclose(got, want, atol=tolerance(dtype))


def test_crps_keeps_its_digits_far_from_the_origin(sample):
    x, y = sample("float32", 50, 1, shift=1e4), sample("float32", 1, seed=1, shift=1e4)
    want = brute_crps(x[:, 0].astype(float), float(y[0]), False)
    np.testing.assert_allclose(metrics.crps(jnp.asarray(x), jnp.asarray(y))[0], want, rtol=1e-5)


def test_fair_crps_of_a_gaussian_is_unbiased(sample):
    # Gneiting and Raftery (2007): CRPS(N(0, 1), y) = y (2 Phi(y) - 1) + 2 phi(y) - 1/sqrt(pi).
    y, repeats = 0.7, 20000
    phi, cdf = np.exp(-(y**2) / 2) / np.sqrt(2 * np.pi), float(jax.scipy.stats.norm.cdf(y))
    want = y * (2 * cdf - 1) + 2 * phi - 1 / np.sqrt(np.pi)
    x = jnp.asarray(sample("float32", repeats, 5, 1))
    truth = jnp.full((repeats, 1), y, x.dtype)
    scores = np.asarray(metrics.crps(x, truth, fair=True))
    assert abs(scores.mean() - want) < 4 * scores.std() / np.sqrt(repeats)
    assert np.asarray(metrics.crps(x, truth)).mean() > want  # the plain score is biased upwards


@pytest.mark.parametrize("fair", [False, True])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_energy_score_equals_the_double_sum(dtype, lead, fair, sample, tolerance):
    n = 9
    x, y = sample(dtype, *lead, n, 3), sample(dtype, *lead, 3, seed=1)
    got = metrics.energy_score(jnp.asarray(x), jnp.asarray(y), fair=fair)
    assert got.shape == lead and got.dtype == dtype
    want = [
        np.linalg.norm(xs - ys, axis=-1).mean()
        - 0.5 * pairwise_mean(xs) * (n / (n - 1) if fair else 1)
        for xs, ys in zip(x.reshape(-1, n, 3), y.reshape(-1, 3), strict=True)
    ]
    np.testing.assert_allclose(np.ravel(got), want, rtol=tolerance(dtype, 200))


def test_energy_score_in_one_dimension_is_the_crps(dtype, sample, tolerance):
    x, y = jnp.asarray(sample(dtype, 5, 8, 1)), jnp.asarray(sample(dtype, 5, 1, seed=1))
    np.testing.assert_allclose(
        metrics.energy_score(x, y), metrics.crps(x, y)[:, 0], rtol=tolerance(dtype, 200)
    )


def test_scores_prefer_the_truth_and_propagate_nan(sample):
    y = jnp.zeros((1, 2), jnp.float32)
    good, bad = (
        jnp.asarray(sample(np.float32, 1, 50, 2)),
        jnp.asarray(sample(np.float32, 1, 50, 2, shift=2)),
    )
    for score in (metrics.energy_score, lambda x, y: metrics.crps(x, y).mean()):
        assert score(good, y) < score(bad, y)
    broken = good.at[0, 3, 1].set(jnp.nan)
    assert np.isnan(metrics.energy_score(broken, y)[0])
    np.testing.assert_array_equal(np.isnan(metrics.crps(broken, y)[0]), [False, True])


def test_energy_score_has_a_finite_gradient_at_the_truth(sample):
    y = jnp.zeros((2,), jnp.float32)
    x = jnp.asarray(sample(np.float32, 6, 2)).at[0].set(y)
    assert np.isfinite(jax.jit(jax.grad(metrics.energy_score))(x, y)).all()
