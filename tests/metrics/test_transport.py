"""Wasserstein distances against one dimension, moved clouds and Gaussians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import metrics


def merged_quantile_w2(u, v, levels=200_000):
    """The integral over quantile levels on a grid finer than, and between, all the levels."""
    q = (np.arange(levels) + 0.5) / levels
    u, v = np.sort(u), np.sort(v)
    fu, fv = u[(q * len(u)).astype(int)], v[(q * len(v)).astype(int)]
    return np.sqrt(((fu - fv) ** 2).mean())


def test_w2_of_a_moved_cloud_is_the_distance_moved(sample):
    x, v = sample("float64", 60, 3), np.array([3.0, -4.0, 12.0])
    assert metrics.wasserstein2(x, x + v) == pytest.approx(13.0, rel=1e-9)
    assert metrics.wasserstein2(x, x) == 0.0


def test_w2_in_one_dimension(sample):
    u, v, w = (sample("float64", n, 1, seed=n) for n in (40, 40 + 0, 25))
    v = v + 0.3 * np.sin(7 * v)
    want = np.sqrt(((np.sort(u[:, 0]) - np.sort(v[:, 0])) ** 2).mean())
    assert metrics.wasserstein2(u, v) == pytest.approx(want, rel=1e-9)
    # 40 and 25 divide the 200 000 grid levels, so the midpoint sum is exact.
    assert metrics.wasserstein2(u, w) == pytest.approx(merged_quantile_w2(u[:, 0], w[:, 0]))


def test_w2_between_gaussians(sample):
    # W2^2 of N(m, s^2 I) and N(0, I) is |m|^2 + d (s - 1)^2; sampling error by repetition.
    d, n, s, m = 2, 400, 1.5, 3.0
    got = [
        metrics.wasserstein2(
            sample("float64", n, d, seed=2 * r) * s + np.array([m, 0.0]),
            sample("float64", n, d, seed=2 * r + 1),
        )
        for r in range(10)
    ]
    want = np.sqrt(m**2 + d * (s - 1) ** 2)
    floor = np.mean(
        [
            metrics.wasserstein2(sample("float64", n, d, seed=r), sample("float64", n, d, seed=99))
            for r in range(3)
        ]
    )
    # Triangle inequality: the plug-in distance errs by the sampling floor of either side at most.
    assert abs(np.mean(got) - want) < (1 + s) * floor
    assert abs(np.mean(got) - want) < 4 * np.std(got) / np.sqrt(10) + floor**2 / want


def test_w2_weights_are_copies(sample):
    x, y = sample("float64", 12, 2), sample("float64", 9, 2, seed=1)
    repeats = np.array([1, 2, 3] * 4)
    got = metrics.wasserstein2(x, y, weights_a=repeats)
    assert got == pytest.approx(metrics.wasserstein2(np.repeat(x, repeats, axis=0), y))
    assert metrics.wasserstein2(x, y, weights_b=np.eye(9)[2]) == pytest.approx(
        np.sqrt(((x - y[2]) ** 2).sum(axis=1).mean())
    )


def test_w2_of_a_diverged_ensemble_is_nan(sample):
    x = sample("float64", 5, 2)
    for bad in (np.nan, np.inf, 1e200):
        y = x.copy()
        y[2, 0] = bad
        assert np.isnan(metrics.wasserstein2(x, y))


@pytest.mark.filterwarnings("ignore:numItermax")
def test_w2_reports_a_solver_that_gave_up(monkeypatch, sample):
    monkeypatch.setattr("kdediff_jax.metrics.transport._MAX_PIVOTS", 2)
    with pytest.raises(RuntimeError, match="did not converge"):
        metrics.wasserstein2(sample("float64", 50, 2), sample("float64", 50, 2, seed=1))


def test_w2_without_pot_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ot", None)
    with pytest.raises(ImportError, match=r"kdediff_jax\[ot\]"):
        metrics.wasserstein2(np.zeros((2, 1)), np.ones((2, 1)))


@pytest.mark.parametrize(("n", "m"), [(30, 30), (30, 20), (7, 50), (1, 5)])
def test_sliced_w2_is_exact_in_one_dimension(dtype, n, m, sample, tolerance):
    u, v = sample(dtype, n, 1), sample(dtype, m, 1, seed=1, shift=0.5)
    got = metrics.sliced_wasserstein2(jax.random.key(0), jnp.asarray(u), jnp.asarray(v), 3)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, metrics.wasserstein2(u, v), rtol=tolerance(dtype, 200))


def test_sliced_w2_of_a_moved_cloud(sample):
    d, projections = 4, 4000
    x, v = sample(np.float32, 30, d, shift=100), np.array([1, 2, 2, 4], np.float32)
    got = metrics.sliced_wasserstein2(
        jax.random.key(1), jnp.asarray(x), jnp.asarray(x + v), projections
    )
    # Each direction scores |v|^2 cos^2; cos^2 is Beta(1/2, (d-1)/2) with mean 1/d.
    spread = 25 * np.sqrt(2 * (d - 1) / (d + 2)) / d / np.sqrt(projections)
    assert abs(float(got) ** 2 - 25 / d) < 4 * spread


def test_sliced_w2_never_exceeds_w2(x64, sample):
    x, y = sample(x64, 40, 3), sample(x64, 25, 3, seed=1, shift=1)
    got = metrics.sliced_wasserstein2(jax.random.key(0), jnp.asarray(x), jnp.asarray(y))
    assert 0 < got < metrics.wasserstein2(x, y)


def test_sliced_w2_gradient(x64, sample):
    x, y = jnp.asarray(sample(x64, 10, 2)), jnp.asarray(sample(x64, 15, 2, seed=1))

    @jax.jit
    def loss(x):
        return metrics.sliced_wasserstein2(jax.random.key(0), x, y, 16)

    gradient, step = jax.jit(jax.grad(loss))(x), 1e-6
    direction = jnp.asarray(sample(x64, 10, 2, seed=2))
    numeric = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.sum(gradient * direction), numeric, rtol=1e-4)
    same = jax.jit(jax.grad(lambda x: metrics.sliced_wasserstein2(jax.random.key(0), x, y, 4)))(y)
    np.testing.assert_array_equal(same, 0)
