"""What fails in one place of a field stays there: members, whole places, analyses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd
from kdediff_jax.analysis.members import admit, far_values, replace_dead
from kdediff_jax.analysis.outcome import Outcome
from kdediff_jax.analysis.safeguards import Safeguards
from kdediff_jax.recovery import restarted

D, N, NAN = 60, 20, float("nan")
PLACES = np.arange(float(D))
WHERE = kd.Localisation(PLACES, PLACES, 2.0, float(D))
OBS = kd.GaussianObservation(kd.Identity(), 0.5)
SCHEMES = {"letkf": kd.LETKF(WHERE), "lenkpf": kd.LEnKPF(WHERE)}
HOLE = slice(10, 14)
FAR = np.arange(30, 50)  # out of reach of the hole


class Breaking(kd.Lorenz96):
    """Lorenz-96 whose members break in one place once."""

    def step(self, key, x, t):
        moved = super().step(key, x, t)
        broken = (t > 0.37) & (t < 0.43)
        nearly = moved.at[HOLE.stop].set(jnp.where(broken, 1e20, moved[HOLE.stop]))
        return nearly.at[HOLE].set(jnp.where(broken, NAN, moved[HOLE]))


@pytest.fixture(params=SCHEMES)
def scheme(request):
    return SCHEMES[request.param]


def members(dtype="float32"):
    return np.random.default_rng(0).normal(size=(N, D)).astype(dtype)


def test_a_member_that_is_bad_somewhere_takes_part_elsewhere(dtype):
    x = members(dtype)
    bad = x.copy()
    bad[np.arange(N - 2), np.arange(N - 2)] = NAN  # almost every member, each in another place
    bad[3, 40], bad[5] = 1e9, NAN
    found, alive = quick(lambda x: admit(x, jnp.asarray(4000.0, x.dtype), True))(jnp.asarray(bad))
    np.testing.assert_array_equal(alive, np.arange(N) != 5)
    kept = np.isfinite(bad) & (np.abs(bad) < 1e9)
    np.testing.assert_array_equal(np.asarray(found)[kept], bad[kept])
    assert np.all(np.abs(found) < 6)
    _, globally = quick(lambda x: admit(x, jnp.asarray(4000.0, x.dtype)))(jnp.asarray(bad))
    assert np.sum(globally) == 2


def test_stand_ins_of_columns_are_those_of_members(dtype):
    x, alive = jnp.asarray(members(dtype)), np.random.default_rng(1).random(N) > 0.3
    whole = replace_dead(x, jnp.asarray(alive))
    columns = replace_dead(x, jnp.broadcast_to(jnp.asarray(alive)[:, None], x.shape))
    np.testing.assert_allclose(whole, columns, rtol=1e-6, atol=1e-6)
    far = far_values(x.at[4, 7].set(1e8), jnp.ones(x.shape, bool), jnp.asarray(4000.0, x.dtype))
    np.testing.assert_array_equal(np.argwhere(far), [[4, 7]])


def test_an_analysis_of_the_rest_does_not_see_a_bad_place(scheme, key):
    x, y = members(), jnp.zeros(D)
    bad = x.copy()
    bad[3:, HOLE] = NAN
    (sound, _), (mended, info) = (scheme(key, jnp.asarray(each), y, OBS) for each in (x, bad))
    assert np.all(np.isfinite(mended)) and not info.ok and info.num_masked == N - 3
    far, same = mended[:, FAR], sound[:, FAR]
    if isinstance(scheme, kd.LETKF):
        np.testing.assert_array_equal(far, same)
    # LEnKPF has one share and one factor of the spread for the whole field
    np.testing.assert_allclose(far.mean(axis=0), same.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(far.std(axis=0).mean(), same.std(axis=0).mean(), rtol=0.05)
    few = x[:3, HOLE].mean(axis=0)
    assert np.all(np.abs(mended[:, HOLE].mean(axis=0)) < np.abs(few) + 1)


def test_a_coordinate_without_two_members_stays_as_it_came(scheme, key):
    x, y = members(), jnp.zeros(D)
    x[1:, 12] = NAN
    analysis, info = scheme(key, jnp.asarray(x), y, OBS)
    np.testing.assert_array_equal(analysis[:, 12], x[:, 12])
    assert not info.ok and info.num_masked == N - 1
    np.testing.assert_allclose(info.mean[12], x[0, 12], rtol=1e-5)
    rest = np.arange(D) != 12
    assert np.all(np.isfinite(analysis[:, rest])) and np.all(np.isfinite(info.mean[rest]))
    assert np.sum(analysis[:, FAR].std(axis=0) < x[:, FAR].std(axis=0)) > 15


def test_only_the_place_that_is_lost_starts_from_the_reserve():
    reserve, forecast = members(), members() + 100  # it never was like that, and may be so
    forecast[:, HOLE] = NAN
    forecast[1, HOLE] = 0.0  # one survivor
    forecast[:, HOLE.stop] = 1e20
    reserve[2, 11] = NAN
    near = np.array(forecast)
    near[:, FAR] = 3.0
    found, lost = (np.asarray(a) for a in restarted(jnp.asarray(near), jnp.asarray(reserve), True))
    assert lost == N - 1
    np.testing.assert_array_equal(found[:, FAR], near[:, FAR])
    sound = np.isfinite(reserve[:, HOLE])
    np.testing.assert_array_equal(found[:, HOLE][sound], reserve[:, HOLE][sound])
    np.testing.assert_array_equal(found[:, HOLE.stop], reserve[:, HOLE.stop])
    assert np.all(np.isfinite(found))


def test_what_is_sound_is_not_looked_at():
    x = jnp.asarray(members()).at[1:, 3].set(NAN).at[0, 4].set(1e30)
    kept, lost = restarted(x.at[1, 3].set(0.0), x, True)
    assert lost == 0
    np.testing.assert_array_equal(kept, x.at[1, 3].set(0.0))


def test_a_field_survives_a_place_that_breaks_in_all_members(scheme, key):
    model = Breaking(interval=0.05, substeps=2)
    settled = jnp.asarray(members()[0]) + 2
    for _ in range(100):
        settled = kd.Lorenz96(interval=0.05, substeps=2).step(key, settled, jnp.zeros(()))
    truth, ys = kd.twin_experiment(key, kd.Lorenz96(interval=0.05, substeps=2), OBS, settled, 60)
    start = settled[None] + jax.random.normal(key, (N, D))
    result = kd.assimilate(key, model, OBS, scheme, start, ys)
    error = np.abs(np.asarray(result.mean - truth))
    assert np.sum(~np.asarray(result.info.ok)) == 1
    broken = int(np.argmin(result.info.ok))
    assert result.info.num_masked[broken] == N
    assert np.sqrt(np.mean(error[broken : broken + 10][:, FAR] ** 2)) < 0.5
    assert np.sqrt(np.mean(error[-10:] ** 2)) < 0.5


def test_an_analysis_that_fails_somewhere_goes_on_elsewhere():
    forecast = jnp.asarray(members())
    analysis = (0.5 * forecast).at[3, HOLE].set(NAN)
    outcome = Outcome(analysis, jnp.mean(analysis, axis=0), jnp.asarray(1.0), jnp.ones(N, bool))
    settled, info = Safeguards().settle(forecast, forecast, jnp.zeros(D), outcome, True)
    assert not info.ok
    inside = np.zeros(D, bool)
    inside[HOLE] = True
    np.testing.assert_array_equal(settled[:, ~inside], analysis[:, ~inside])
    std = np.std(settled, axis=0) / np.std(forecast, axis=0)
    np.testing.assert_allclose(std[inside], 1.05, rtol=1e-4)
    np.testing.assert_array_equal(np.isfinite(info.mean), True)
    whole, _ = Safeguards().settle(forecast, forecast, jnp.zeros(D), outcome)
    np.testing.assert_allclose(np.std(whole, axis=0) / np.std(forecast, axis=0), 1.05, rtol=1e-4)
