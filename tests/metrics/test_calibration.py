"""Ranks, flatness and coverage: ties, missing cycles, and the law under calibration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import metrics


def test_ranks_count_the_members_below():
    x = jnp.asarray([[[3.0], [1.0], [2.0]]] * 4)
    y = jnp.asarray([[0.0], [1.5], [2.5], [9.0]])
    np.testing.assert_array_equal(metrics.rank_histogram(x, y), [[1, 1, 1, 1]])


def test_ties_are_broken_evenly_and_only_among_themselves():
    t = 3000
    x = jnp.tile(jnp.asarray([[[0], [1], [1], [2]]], jnp.float32), (t, 1, 1))
    y = jnp.ones((t, 1), jnp.float32)
    counts = np.asarray(metrics.rank_histogram(x, y, key=jax.random.key(0)))[0]
    assert counts[0] == counts[4] == 0 and counts.sum() == t
    assert np.abs(counts[1:4] - t / 3).max() < 4 * np.sqrt(t * 2 / 9)
    np.testing.assert_array_equal(metrics.rank_histogram(x, y)[0], [0, t, 0, 0, 0])


def test_cycles_with_nan_have_no_rank(sample):
    x, y = sample(np.float32, 10, 4, 2), sample(np.float32, 10, 2, seed=1)
    x[3, 1, 0], y[5, 1], y[6, 1] = np.nan, np.nan, np.nan
    counts = metrics.rank_histogram(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_array_equal(np.sum(counts, axis=1), [9, 8])


@pytest.mark.parametrize("num_bins", [None, 10])
def test_flatness_is_uniform_under_calibration(num_bins, sample):
    t, n, repeats = 300, 40, 400
    x, y = sample(np.float32, t, n, repeats), sample(np.float32, t, repeats, seed=1)
    counts = metrics.rank_histogram(jnp.asarray(x), jnp.asarray(y))
    statistic, p = (np.asarray(v) for v in metrics.rank_flatness(counts, num_bins))
    assert p.shape == statistic.shape == (repeats,)
    bins = 10 if num_bins else 41  # 300 counts over 41 ranks are 7.3 each: no pooling needed
    assert abs(statistic.mean() - (bins - 1)) < 4 * np.sqrt(2 * (bins - 1) / repeats)
    for q in (0.05, 0.5, 0.9):
        assert abs((p < q).mean() - q) < 4 * np.sqrt(q * (1 - q) / repeats) + 0.01


@pytest.mark.parametrize(("shift", "scale"), [(0.7, 1.0), (0.0, 0.4), (0.0, 3.0)])
def test_flatness_rejects_bias_and_wrong_width(shift, scale, sample):
    x, y = (
        sample(np.float32, 200, 20, 1, shift=shift) * np.float32(scale),
        sample(np.float32, 200, 1, seed=1),
    )
    counts = metrics.rank_histogram(jnp.asarray(x), jnp.asarray(y))
    assert metrics.rank_flatness(counts)[1][0] < 1e-4


def test_flatness_pools_to_five_expected_counts():
    # 60 counts over 51 ranks: five ranks to a bin, ten bins. All counts sit in the first bin.
    counts = np.zeros(51, np.int32)
    counts[0] = 60
    statistic, _ = metrics.rank_flatness(jnp.asarray(counts))
    first = 60 * 6 / 51  # ranks 0 to 5
    assert float(statistic) == pytest.approx((60 - first) ** 2 / first + 60 - first, rel=1e-5)
    few = metrics.rank_flatness(jnp.asarray([3, 2, 1]))
    assert np.isnan(few[0]) and np.isnan(few[1])


def test_flatness_p_value_against_tables():
    # chi-square of 9 degrees of freedom: 16.919 is the 5 % point.
    counts = np.full(10, 100)
    counts[0] += 41
    counts[1:] -= np.array([5, 5, 5, 5, 5, 4, 4, 4, 4])
    expected = ((counts - 100.0) ** 2 / 100).sum()
    statistic, p = metrics.rank_flatness(jnp.asarray(counts), num_bins=10)
    assert float(statistic) == pytest.approx(expected, rel=1e-5)
    assert abs(expected - 16.919) < 2.0 and abs(float(p) - 0.05) < 0.03


@pytest.mark.parametrize("n", [19, 50, 200])
def test_coverage_of_a_calibrated_ensemble_is_the_level(n, sample):
    t, d, level = 500, 8, 0.9
    x, y = sample(np.float32, t, n, d), sample(np.float32, t, d, seed=1)
    got = metrics.coverage(jnp.asarray(x), jnp.asarray(y), level)
    assert got.shape == (d,)
    assert abs(float(got.mean()) - level) < 4 * np.sqrt(level * (1 - level) / (t * d))


def test_coverage_of_a_small_ensemble_and_of_nan(sample):
    x, y = sample(np.float32, 4000, 3, 1), sample(np.float32, 4000, 1, seed=1)
    got = float(metrics.coverage(jnp.asarray(x), jnp.asarray(y))[0])
    assert abs(got - 0.5) < 4 * np.sqrt(0.25 / 4000)  # the range of 3 members holds (3-1)/(3+1)
    x[7, 1, 0] = np.nan
    assert np.isnan(metrics.coverage(jnp.asarray(x), jnp.asarray(y))[0])
