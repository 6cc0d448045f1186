"""Scores against brute force, closed forms and one another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import metrics


def tolerance(dtype, factor=50.0):
    return factor * float(np.finfo(dtype).eps)


def sample(dtype, *shape, seed=0, shift=0.0):
    return (np.random.default_rng(seed).normal(size=shape) + shift).astype(dtype)


def pairwise_mean(x):
    return np.linalg.norm(x[:, None] - x[None, :], axis=-1).mean()


def brute_crps(x, y, fair):
    n = len(x)
    pairs = np.abs(x[:, None] - x[None, :]).sum() / (n * (n - 1) if fair else n * n)
    return np.abs(x - y).mean() - 0.5 * pairs


# --- moments ---------------------------------------------------------------------------------


def test_rmse_and_spread_are_the_textbook_sums(dtype):
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


def test_spread_matches_rmse_of_a_calibrated_ensemble():
    t, n = 4000, 10
    x, y = sample("float32", t, n, 1), sample("float32", t, 1, seed=1)
    squared_error = np.asarray(metrics.rmse(jnp.asarray(x.mean(axis=1)), jnp.asarray(y))) ** 2
    squared_spread = np.asarray(metrics.spread(jnp.asarray(x))) ** 2 * (1 + 1 / n)
    difference = squared_error - squared_spread
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(t)


def test_effective_sample_size(dtype):
    weights = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [2, 1, 1, 0], [0, 0, 0, 0]], dtype)
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights) - dtype.type(700.0)
    ess = jax.jit(metrics.effective_sample_size)(jnp.asarray(log_weights))
    assert ess.dtype == dtype
    np.testing.assert_allclose(ess, [4, 1, 16 / 6, np.nan], rtol=tolerance(dtype, 2000))


# --- CRPS and energy score -------------------------------------------------------------------


@pytest.mark.parametrize("fair", [False, True])
@pytest.mark.parametrize("n", [2, 3, 20])
def test_crps_equals_the_double_sum(dtype, n, fair):
    x, y = sample(dtype, 2, 3, n, 4), sample(dtype, 2, 3, 4, seed=1)
    got = metrics.crps(jnp.asarray(x), jnp.asarray(y), fair=fair)
    want = [
        [[brute_crps(x[s, t, :, k], y[s, t, k], fair) for k in range(4)] for t in range(3)]
        for s in range(2)
    ]
    assert got.shape == (2, 3, 4) and got.dtype == dtype
    np.testing.assert_allclose(got, want, atol=tolerance(dtype))


def test_crps_keeps_its_digits_far_from_the_origin():
    x, y = sample("float32", 50, 1, shift=1e4), sample("float32", 1, seed=1, shift=1e4)
    want = brute_crps(x[:, 0].astype(float), float(y[0]), False)
    np.testing.assert_allclose(metrics.crps(jnp.asarray(x), jnp.asarray(y))[0], want, rtol=1e-5)


def test_fair_crps_of_a_gaussian_is_unbiased():
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
def test_energy_score_equals_the_double_sum(dtype, lead, fair):
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


def test_energy_score_in_one_dimension_is_the_crps(dtype):
    x, y = jnp.asarray(sample(dtype, 5, 8, 1)), jnp.asarray(sample(dtype, 5, 1, seed=1))
    np.testing.assert_allclose(
        metrics.energy_score(x, y), metrics.crps(x, y)[:, 0], rtol=tolerance(dtype, 200)
    )


def test_scores_prefer_the_truth_and_propagate_nan():
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


def test_energy_score_has_a_finite_gradient_at_the_truth():
    y = jnp.zeros((2,), jnp.float32)
    x = jnp.asarray(sample(np.float32, 6, 2)).at[0].set(y)
    assert np.isfinite(jax.jit(jax.grad(metrics.energy_score))(x, y)).all()


# --- Wasserstein-2 ---------------------------------------------------------------------------


def merged_quantile_w2(u, v, levels=200_000):
    """The integral over quantile levels on a grid finer than, and between, all the levels."""
    q = (np.arange(levels) + 0.5) / levels
    u, v = np.sort(u), np.sort(v)
    fu, fv = u[(q * len(u)).astype(int)], v[(q * len(v)).astype(int)]
    return np.sqrt(((fu - fv) ** 2).mean())


def test_w2_of_a_moved_cloud_is_the_distance_moved():
    x, v = sample("float64", 60, 3), np.array([3.0, -4.0, 12.0])
    assert metrics.wasserstein2(x, x + v) == pytest.approx(13.0, rel=1e-9)
    assert metrics.wasserstein2(x, x) == 0.0


def test_w2_in_one_dimension():
    u, v, w = (sample("float64", n, 1, seed=n) for n in (40, 40 + 0, 25))
    v = v + 0.3 * np.sin(7 * v)
    want = np.sqrt(((np.sort(u[:, 0]) - np.sort(v[:, 0])) ** 2).mean())
    assert metrics.wasserstein2(u, v) == pytest.approx(want, rel=1e-9)
    # 40 and 25 divide the 200 000 grid levels, so the midpoint sum is exact.
    assert metrics.wasserstein2(u, w) == pytest.approx(merged_quantile_w2(u[:, 0], w[:, 0]))


def test_w2_between_gaussians():
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


def test_w2_weights_are_copies():
    x, y = sample("float64", 12, 2), sample("float64", 9, 2, seed=1)
    repeats = np.array([1, 2, 3] * 4)
    got = metrics.wasserstein2(x, y, weights_a=repeats)
    assert got == pytest.approx(metrics.wasserstein2(np.repeat(x, repeats, axis=0), y))
    assert metrics.wasserstein2(x, y, weights_b=np.eye(9)[2]) == pytest.approx(
        np.sqrt(((x - y[2]) ** 2).sum(axis=1).mean())
    )


def test_w2_of_a_diverged_ensemble_is_nan():
    x = sample("float64", 5, 2)
    for bad in (np.nan, np.inf, 1e200):
        y = x.copy()
        y[2, 0] = bad
        assert np.isnan(metrics.wasserstein2(x, y))


@pytest.mark.filterwarnings("ignore:numItermax")
def test_w2_reports_a_solver_that_gave_up(monkeypatch):
    monkeypatch.setattr("kdediff_jax.metrics.transport._MAX_PIVOTS", 2)
    with pytest.raises(RuntimeError, match="did not converge"):
        metrics.wasserstein2(sample("float64", 50, 2), sample("float64", 50, 2, seed=1))


def test_w2_without_pot_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ot", None)
    with pytest.raises(ImportError, match=r"kdediff_jax\[ot\]"):
        metrics.wasserstein2(np.zeros((2, 1)), np.ones((2, 1)))


@pytest.mark.parametrize(("n", "m"), [(30, 30), (30, 20), (7, 50), (1, 5)])
def test_sliced_w2_is_exact_in_one_dimension(dtype, n, m):
    u, v = sample(dtype, n, 1), sample(dtype, m, 1, seed=1, shift=0.5)
    got = metrics.sliced_wasserstein2(jax.random.key(0), jnp.asarray(u), jnp.asarray(v), 3)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, metrics.wasserstein2(u, v), rtol=tolerance(dtype, 200))


def test_sliced_w2_of_a_moved_cloud():
    d, projections = 4, 4000
    x, v = sample(np.float32, 30, d, shift=100), np.array([1, 2, 2, 4], np.float32)
    got = metrics.sliced_wasserstein2(
        jax.random.key(1), jnp.asarray(x), jnp.asarray(x + v), projections
    )
    # Each direction scores |v|^2 cos^2; cos^2 is Beta(1/2, (d-1)/2) with mean 1/d.
    spread = 25 * np.sqrt(2 * (d - 1) / (d + 2)) / d / np.sqrt(projections)
    assert abs(float(got) ** 2 - 25 / d) < 4 * spread


def test_sliced_w2_never_exceeds_w2(x64):
    x, y = sample(x64, 40, 3), sample(x64, 25, 3, seed=1, shift=1)
    got = metrics.sliced_wasserstein2(jax.random.key(0), jnp.asarray(x), jnp.asarray(y))
    assert 0 < got < metrics.wasserstein2(x, y)


def test_sliced_w2_gradient(x64):
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


# --- calibration -----------------------------------------------------------------------------


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


def test_cycles_with_nan_have_no_rank():
    x, y = sample(np.float32, 10, 4, 2), sample(np.float32, 10, 2, seed=1)
    x[3, 1, 0], y[5, 1], y[6, 1] = np.nan, np.nan, np.nan
    counts = metrics.rank_histogram(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_array_equal(np.sum(counts, axis=1), [9, 8])


@pytest.mark.parametrize("num_bins", [None, 10])
def test_flatness_is_uniform_under_calibration(num_bins):
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
def test_flatness_rejects_bias_and_wrong_width(shift, scale):
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
def test_coverage_of_a_calibrated_ensemble_is_the_level(n):
    t, d, level = 500, 8, 0.9
    x, y = sample(np.float32, t, n, d), sample(np.float32, t, d, seed=1)
    got = metrics.coverage(jnp.asarray(x), jnp.asarray(y), level)
    assert got.shape == (d,)
    assert abs(float(got.mean()) - level) < 4 * np.sqrt(level * (1 - level) / (t * d))


def test_coverage_of_a_small_ensemble_and_of_nan():
    x, y = sample(np.float32, 4000, 3, 1), sample(np.float32, 4000, 1, seed=1)
    got = float(metrics.coverage(jnp.asarray(x), jnp.asarray(y))[0])
    assert abs(got - 0.5) < 4 * np.sqrt(0.25 / 4000)  # the range of 3 members holds (3-1)/(3+1)
    x[7, 1, 0] = np.nan
    assert np.isnan(metrics.coverage(jnp.asarray(x), jnp.asarray(y))[0])


# --- every score -----------------------------------------------------------------------------

_X, _Y = sample("float32", 6, 5, 3), sample("float32", 6, 3, seed=1)
_SCORES = {
    "rmse": lambda x, y: metrics.rmse(x.mean(axis=-2), y),
    "spread": lambda x, y: metrics.spread(x),
    "effective_sample_size": lambda x, y: metrics.effective_sample_size(x[..., 0]),
    "crps": metrics.crps,
    "energy_score": metrics.energy_score,
    "sliced": lambda x, y: metrics.sliced_wasserstein2(jax.random.key(0), x[0], x[1, :4]),
    "rank_histogram": lambda x, y: metrics.rank_histogram(x, y, key=jax.random.key(0)),
    "rank_flatness": lambda x, y: metrics.rank_flatness(metrics.rank_histogram(x, y), 2)[1],
    "coverage": metrics.coverage,
}


@pytest.mark.parametrize("name", _SCORES)
def test_jit_and_vmap_change_nothing(name, dtype):
    score = _SCORES[name]
    x, y = jnp.asarray(_X.astype(dtype)), jnp.asarray(_Y.astype(dtype))
    want = score(x, y)
    twice = jax.jit(jax.vmap(score))(jnp.stack([x, x]), jnp.stack([y, y]))
    np.testing.assert_allclose(twice, np.stack([want, want]), rtol=1e-5)


_BAD = [
    (lambda: metrics.rmse(jnp.zeros((3, 2)), jnp.zeros((3, 1))), ValueError, "truth.*mean"),
    (lambda: metrics.rmse(jnp.zeros((2,), int), jnp.zeros((2,))), TypeError, "mean.*int"),
    (lambda: metrics.rmse(jnp.zeros(()), jnp.zeros(())), ValueError, "mean: .*1 axes"),
    (lambda: metrics.spread(jnp.zeros((4, 1, 2))), ValueError, "ensemble.*2 members"),
    (lambda: metrics.crps(jnp.zeros((4, 5, 2)), jnp.zeros((5, 2))), ValueError, r"truth.*\(4, 2\)"),
    (lambda: metrics.crps(jnp.zeros((1, 2)), jnp.zeros((2,)), fair=True), ValueError, "2 members"),
    (lambda: metrics.energy_score(jnp.zeros((5, 2)), jnp.zeros((3,))), ValueError, "truth"),
    (
        lambda: metrics.crps(jnp.zeros((5, 2)), jnp.zeros((2,), jnp.float16)),
        TypeError,
        "truth: expected the dtype of ensemble",
    ),
    (lambda: metrics.wasserstein2(np.zeros((3, 2)), np.zeros((3, 1))), ValueError, "coordinates"),
    (lambda: metrics.wasserstein2(np.zeros(3), np.zeros((3, 1))), ValueError, "a: expected shape"),
    (
        lambda: metrics.wasserstein2(np.zeros((3, 1)), np.ones((3, 1)), weights_a=np.ones(2)),
        ValueError,
        "weights_a",
    ),
    (
        lambda: metrics.wasserstein2(np.zeros((2, 1)), np.ones((2, 1)), weights_b=[1.0, -1.0]),
        ValueError,
        "weights_b",
    ),
    (
        lambda: metrics.sliced_wasserstein2(
            jax.random.key(0), jnp.zeros((3, 2)), jnp.zeros((3, 4))
        ),
        ValueError,
        "b: expected shape",
    ),
    (
        lambda: metrics.rank_histogram(jnp.zeros((5, 2)), jnp.zeros((2,))),
        ValueError,
        "cycles, members",
    ),
    (
        lambda: metrics.rank_histogram(jnp.zeros((4, 5, 2)), jnp.zeros((4, 1))),
        ValueError,
        "truths.*ensembles",
    ),
    (lambda: metrics.rank_flatness(jnp.zeros(4)), TypeError, "counts"),
    (lambda: metrics.rank_flatness(jnp.zeros(4, int), 5), ValueError, "num_bins"),
    (
        lambda: metrics.coverage(jnp.zeros((2, 5, 1)), jnp.zeros((2, 1)), 1.0),
        ValueError,
        "level",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), _BAD)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
