"""Who takes part, and what stands in for the others."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

from kdediff_jax.analysis.members import far_members, replace_dead, replace_pairs

NAN = np.nan


def test_dead_members_get_stand_ins_from_finite_ones():
    x = np.arange(12.0, dtype="float32").reshape(6, 2)
    bad = x.copy()
    bad[1], bad[4, 0], bad[5, 1] = NAN, np.inf, -np.inf
    replaced, alive = quick(replace_dead)(bad)
    np.testing.assert_array_equal(alive, [True, False, True, True, False, False])
    np.testing.assert_array_equal(replaced[alive], x[alive])
    sound, stand_ins = x[np.asarray(alive)], np.asarray(replaced)[~np.asarray(alive)]
    for row in stand_ins:  # a mixture of two survivors, and none of them
        assert (np.abs(row - sound.mean(axis=0)) < 1.3 * np.ptp(sound, axis=0)).all()
        assert not (row == sound).all(axis=1).any()
    # those marked before stay marked, and those that are sound stay as they are
    _, marked = quick(replace_dead)(bad, jnp.arange(6) > 0)
    np.testing.assert_array_equal(marked, [False, False, True, True, False, False])
    same, everyone = quick(replace_dead)(x)
    np.testing.assert_array_equal(same, x)
    assert everyone.all()


def test_without_survivors_there_is_something_finite():
    replaced, alive = quick(replace_dead)(jnp.full((3, 2), NAN))
    assert not alive.any() and np.isfinite(replaced).all()


def test_a_member_and_its_prediction_are_replaced_together():
    x = np.arange(5.0, dtype="float32")[:, None]
    y = 10 * np.arange(5.0, dtype="float32")[:, None] + np.ones((1, 2), "float32")
    y[3, 1] = NAN
    members, paired, alive = quick(replace_pairs)(x, y, jnp.ones(5, bool))
    np.testing.assert_array_equal(alive, [True, True, True, False, True])
    np.testing.assert_allclose(paired[:, 0], 10 * members[:, 0] + 1, rtol=1e-5)


def test_stand_ins_have_the_survivors_mean_and_covariance(x64):
    """Every survivor has a stand-in: the mixture of two anomalies keeps both moments."""
    x = np.random.default_rng(0).normal(size=(400, 3)) @ np.diag([1.0, 5.0, 0.1]) + 7
    both = np.concatenate([x, np.full_like(x, NAN)])
    replaced, alive = quick(replace_dead)(both)
    assert alive.sum() == 400
    stand_ins = np.asarray(replaced)[400:]
    np.testing.assert_allclose(stand_ins.mean(axis=0), x.mean(axis=0), rtol=1e-9)
    ratio = stand_ins.var(axis=0) / x.var(axis=0)
    assert (np.abs(ratio - 1) < 5 * 0.6 / 400**0.5).all()  # the products of neighbours


def far(x, threshold=5000.0):
    known = np.isfinite(x) & np.isfinite(x).all(axis=1, keepdims=True)
    threshold = jnp.asarray(threshold, x.dtype)
    return np.asarray(quick(far_members)(jnp.asarray(x), jnp.asarray(known), threshold))


@pytest.mark.parametrize("distance", [1e4, 1e5, 1e10, 1e20, 1e30, 3e38])
@pytest.mark.parametrize("bad", [1, 3, 6])  # of sixty
def test_far_members_are_found_whatever_their_distance(dtype, distance, bad):
    x = np.random.default_rng(1).normal(size=(60, 3)).astype(dtype)
    x[5 : 5 + bad, 1] = distance * (-1) ** np.arange(bad)
    np.testing.assert_array_equal(np.flatnonzero(far(x)), np.arange(5, 5 + bad))


@pytest.mark.parametrize("dead", [0, 3, 20])
def test_dead_members_do_not_hide_a_far_one(dtype, dead):
    x = np.random.default_rng(1).normal(size=(40, 2)).astype(dtype)
    x[:dead, 1], x[30, 0] = np.nan, 1e10
    np.testing.assert_array_equal(np.flatnonzero(far(x)), [30])


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_far_has_no_units(dtype, unit):
    x = np.random.default_rng(1).normal(size=(60, 2)).astype(dtype)
    x[7, 0] = 1e4
    x = (x * np.array([unit, 1.0]) + np.array([0.0, 100.0])).astype(dtype)
    np.testing.assert_array_equal(np.flatnonzero(far(x)), [7])


def honest(kind, n, rng):
    if kind == "a rare mode":  # a tenth of the members at a thousand standard deviations
        x = rng.normal(size=n)
        return np.where(np.arange(n) % 10 == 3, 1000 + x, x)
    if kind == "mostly zero":
        return np.where(rng.uniform(size=n) < 0.05, rng.exponential(size=n), 0.0)
    if kind == "one value and another":
        return np.where(np.arange(n) < 2, 3.0, 2.0)
    if kind == "all equal":
        return np.full(n, 5.0)
    return {
        "gaussian": rng.normal(size=n),
        "student-t of two": rng.standard_t(2, size=n),
        "log-normal": np.exp(2 * rng.normal(size=n)),
        "half and half": rng.normal(size=n) + 1e6 * (np.arange(n) % 2),
    }[kind]


HONEST = ["gaussian", "student-t of two", "log-normal", "half and half", "a rare mode",
          "mostly zero", "one value and another", "all equal"]  # fmt: skip


@pytest.mark.parametrize("n", [10, 100, 1000])
@pytest.mark.parametrize("kind", HONEST)
def test_no_honest_tail_or_mode_is_touched(kind, n):
    for seed in range(20):
        x = honest(kind, n, np.random.default_rng(seed))
        assert not far(x.astype("float32")[:, None]).any()
