"""RMSE, spread and effective sample size against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import metrics


def test_rmse_and_spread_are_the_textbook_sums(dtype, sample, tolerance):
    x, y = sample(dtype, 4, 7, 3), sample(dtype, 4, 3, seed=1)
    error = metrics.rmse(jnp.asarray(x.mean(axis=1)), jnp.asarray(y))
    width = metrics.spread(jnp.asarray(x))
    assert error.shape == width.shape == (4,)
    assert error.dtype == width.dtype == dtype
    np.testing.assert_allclose(
        error, np.sqrt(((x.mean(axis=1) - y) ** 2).mean(axis=-1)), rtol=tolerance(dtype)
    )
    np.testing.assert_allclose(
        width, np.sqrt(x.var(axis=1, ddof=1).mean(axis=-1)), rtol=tolerance(dtype)
    )


def test_spread_matches_rmse_of_a_calibrated_ensemble(sample):
    t, n = 4000, 10
    x, y = sample("float32", t, n, 1), sample("float32", t, 1, seed=1)
    squared_error = np.asarray(metrics.rmse(jnp.asarray(x.mean(axis=1)), jnp.asarray(y))) ** 2
    squared_spread = np.asarray(metrics.spread(jnp.asarray(x))) ** 2 * (1 + 1 / n)
    difference = squared_error - squared_spread
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(t)


def test_effective_sample_size(dtype, tolerance):
    weights = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [2, 1, 1, 0], [0, 0, 0, 0]], dtype)
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights) - dtype.type(700.0)
    ess = jax.jit(metrics.effective_sample_size)(jnp.asarray(log_weights))
    assert ess.dtype == dtype
    np.testing.assert_allclose(ess, [4, 1, 16 / 6, np.nan], rtol=tolerance(dtype, 2000))


@pytest.mark.parametrize("shift", [-1e7, 1e7])
def test_a_common_factor_of_the_weights_costs_no_digits(dtype, shift):
    """log-weights of a million measurements are this large; float32 keeps one unit there."""
    log_weights = jnp.full(40, shift, dtype)
    np.testing.assert_allclose(metrics.effective_sample_size(log_weights), 40, rtol=1e-5)
    log_weights = log_weights.at[:20].add(-jnp.inf)
    np.testing.assert_allclose(metrics.effective_sample_size(log_weights), 20, rtol=1e-5)
    assert np.isfinite(jax.grad(metrics.effective_sample_size)(log_weights[20:])).all()
