"""The reserve of a run: what goes in, and when the run starts again from it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.recovery import replenished, restarted

NAN, INF = float("nan"), float("inf")
RESERVE = np.array([[0.0, 10.0], [1.0, 20.0], [0.5, 12.0], [0.2, 18.0]], "float32")
ENSEMBLE = np.array([[0.3, 15.0], [0.4, 16.0], [1.09, 9.1], [1.2, 15.0]], "float32")


@pytest.mark.parametrize("survivors", [0, 1, 2])
def test_a_run_starts_again_where_fewer_than_two_members_are_left(survivors):
    forecast = np.full_like(RESERVE, NAN)
    forecast[:survivors] = 7
    members, lost = restarted(jnp.asarray(forecast), jnp.asarray(RESERVE))
    assert lost == (4 - survivors if survivors < 2 else 0)
    np.testing.assert_array_equal(members, RESERVE if survivors < 2 else forecast)


@pytest.mark.parametrize("ok", [True, False])
@pytest.mark.parametrize("index", range(25))
def test_every_fifth_good_cycle_puts_in_the_next_of_its_members(index, ok):
    got = replenished(jnp.asarray(RESERVE), jnp.asarray(ENSEMBLE), jnp.int32(index), jnp.array(ok))
    expected = RESERVE.copy()
    if ok and index % 5 == 0:
        row = index // 5 % 4
        expected[row] = ENSEMBLE[row]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_member_that_is_not_finite_does_not_go_in(bad):
    wild = jnp.asarray(ENSEMBLE).at[1, 1].set(bad)
    same = replenished(jnp.asarray(RESERVE), wild, jnp.int32(5), jnp.array(True))
    np.testing.assert_array_equal(same, RESERVE)


@pytest.mark.parametrize("bad", [NAN, INF, 3e38, 60.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_far_from_the_others_are_no_place_to_start_from(bad, dtype):
    with jax.enable_x64(dtype == "float64"):
        climate = np.random.default_rng(0).normal(size=(20, 2)).astype(dtype)
        reserve = climate.copy()
        reserve[[3, 11], 1] = bad
        members, lost = restarted(jnp.full((20, 2), NAN, dtype), jnp.asarray(reserve))
    assert lost == 20
    sound = np.delete(np.arange(20), [3, 11])
    np.testing.assert_array_equal(np.asarray(members)[sound], reserve[sound])
    assert np.abs(members).max() < 1.5 * np.abs(climate).max()


def test_a_reserve_without_a_sound_row_stays():
    nothing = jnp.full((4, 2), NAN)
    members, lost = restarted(nothing, nothing)
    assert lost == 4 and np.all(np.isnan(members))


def test_a_run_from_narrow_members_learns_its_climate():
    """Members around one state go out of the reserve one after the other."""
    model, observation = kd.Lorenz63(), kd.GaussianObservation(kd.Identity(), 1.0)
    start = jnp.asarray([[1.5, -1.5, 25.0]]) + 0.1 * jax.random.normal(jax.random.key(0), (20, 3))
    truth, ys = kd.twin_experiment(jax.random.key(1), model, observation, start[0], 120)
    result = kd.assimilate(jax.random.key(2), model, observation, kd.EnKF(), start, ys)
    kept = np.asarray(result.state.reserve)
    assert np.all(kept != np.asarray(start))
    ratio = kept.std(axis=0) / np.std(truth, axis=0)
    assert np.all((ratio > 0.5) & (ratio < 2))
