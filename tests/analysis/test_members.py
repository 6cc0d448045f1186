"""Who takes part, and what stands in for the others."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd
from kdediff_jax.analysis.members import admit, all_near, far_members, replace_dead

NAN = np.nan
NEVER = np.float32("inf")
THRESHOLD = float(kd.Safeguards().far_member)


def test_dead_members_get_stand_ins_from_finite_ones():
    x = np.arange(12.0, dtype="float32").reshape(6, 2)
    bad = x.copy()
    bad[1], bad[4, 0], bad[5, 1] = NAN, np.inf, -np.inf
    replaced, alive = quick(admit)(bad, NEVER)
    np.testing.assert_array_equal(alive, [True, False, True, True, False, False])
    np.testing.assert_array_equal(replaced[alive], x[alive])
    sound, stand_ins = x[np.asarray(alive)], np.asarray(replaced)[~np.asarray(alive)]
    for row in stand_ins:  # a mixture of two survivors, and none of them
        assert (np.abs(row - sound.mean(axis=0)) < 1.3 * np.ptp(sound, axis=0)).all()
        assert not (row == sound).all(axis=1).any()
    # those that are sound stay as they are
    same, everyone = quick(admit)(x, NEVER)
    np.testing.assert_array_equal(same, x)
    assert everyone.all()


def test_without_survivors_there_is_something_finite():
    replaced, alive = quick(admit)(jnp.full((3, 2), NAN), NEVER)
    assert not alive.any() and np.isfinite(replaced).all()


def test_stand_ins_have_the_survivors_mean_and_covariance(x64):
    """Every survivor has a stand-in: the mixture of two anomalies keeps both moments."""
    x = np.random.default_rng(0).normal(size=(400, 3)) @ np.diag([1.0, 5.0, 0.1]) + 7
    both = np.concatenate([x, np.full_like(x, NAN)])
    replaced = quick(replace_dead)(both, np.arange(800) < 400)
    stand_ins = np.asarray(replaced)[400:]
    np.testing.assert_allclose(stand_ins.mean(axis=0), x.mean(axis=0), rtol=1e-9)
    ratio = stand_ins.var(axis=0) / x.var(axis=0)
    assert (np.abs(ratio - 1) < 5 * 0.6 / 400**0.5).all()  # the products of neighbours


def far(x, threshold=THRESHOLD):
    """Return who is far; whoever is must not pass the look without sorting."""
    known = np.isfinite(x) & np.isfinite(x).all(axis=1, keepdims=True)
    threshold = jnp.asarray(threshold, x.dtype)
    found = np.asarray(quick(far_members)(jnp.asarray(x), jnp.asarray(known), threshold))
    assert not (found.any() and quick(all_near)(jnp.asarray(x), threshold))
    return found


@pytest.mark.parametrize("distance", [1e4, 1e5, 1e10, 1e20, 1e30, 3e38])
@pytest.mark.parametrize("bad", [1, 3, 9])  # of sixty
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


@pytest.mark.parametrize("n", [10, 100, 1000])
@pytest.mark.parametrize("kind", ["gaussian", "student-t of two", "saturated", "all equal"])
def test_usual_members_are_not_sorted(kind, n):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = np.arctan(rng.normal(-5, 1.5, n)) if kind == "saturated" else honest(kind, n, rng)
        assert quick(all_near)(jnp.asarray(x[:, None], "float32"), THRESHOLD)


@pytest.mark.parametrize("n", [10, 13, 20, 100])
@pytest.mark.parametrize("threshold", [30.0, THRESHOLD])
def test_the_look_misses_no_arrangement(n, threshold, dtype):
    """As many outsiders as there may be, neighbours as far apart as they can be, just far."""
    rng = np.random.default_rng(n)
    cut = 15 * n // 100
    x = np.linspace(-1, 1, n)
    x[: n // 2 * 2 : 2] *= -1  # from one end of the window to the other
    x[1 : 4 * cut : 4], x[3 : 4 * cut : 4] = -1.1 * threshold, 1.1 * threshold
    for order in (np.arange(n), rng.permutation(n)):
        assert far(x[order].astype(dtype)[:, None], threshold).any()
