"""The reserve of a run: what goes in, and when the run starts again from it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

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
@pytest.mark.parametrize("index", range(8))
def test_each_good_cycle_puts_in_the_next_of_its_members(index, ok):
    """But for the last, which is a fifth of the range outside; a tenth is allowed."""
    got = replenished(jnp.asarray(RESERVE), jnp.asarray(ENSEMBLE), jnp.int32(index), jnp.array(ok))
    expected = RESERVE.copy()
    if ok and index % 4 != 3:
        expected[index % 4] = ENSEMBLE[index % 4]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_row_that_is_not_finite_keeps_no_member_out(bad):
    reserve = jnp.asarray(RESERVE).at[1, 0].set(bad)
    got = replenished(reserve, jnp.asarray(ENSEMBLE), jnp.int32(1), jnp.array(True))
    np.testing.assert_array_equal(got[1], ENSEMBLE[1])


@pytest.mark.parametrize("bad", [NAN, INF, 3e38])
def test_a_bad_member_does_not_go_in(bad):
    wild = jnp.asarray(ENSEMBLE).at[1, 1].set(bad)
    same = replenished(jnp.asarray(RESERVE), wild, jnp.int32(1), jnp.array(True))
    np.testing.assert_array_equal(same, RESERVE)
