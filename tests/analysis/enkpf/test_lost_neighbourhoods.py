"""Lost neighbourhoods: who is widened and by how much, and runs that find the truth again."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick
from stages import predicted

import kdediff_jax as kd
from kdediff_jax.analysis.enkpf.lost_neighbourhoods import LostNeighbourhoods
from kdediff_jax.ensemble.taper import gaspari_cohn

D, RADIUS, STD = 60, 2.0, 0.5
PLACES = np.arange(float(D))
WHERE = kd.Localisation(PLACES, PLACES, RADIUS, float(D))
OBS = kd.GaussianObservation(kd.Identity(), STD)
NEVER = LostNeighbourhoods(outlier_threshold=jnp.inf, largest_increment=jnp.inf)


def widened(rule, x, y, observation=OBS, where=WHERE):
    forecast = predicted(observation, x, y)
    near = where.near(x.shape[1], len(y), x.dtype)
    return quick(lambda: (lambda found, lost: (*found[:3], lost))(*rule.widen(forecast, near)))()


def problem(key, dtype=None):
    """A forecast whose first five coordinates are lost."""
    x = 0.3 * jax.random.normal(key, (40, D), dtype or jnp.float32)
    y = jnp.zeros(D, x.dtype).at[:5].set(4.0)
    return x, y


def by_loops(x, y, threshold, odds, largest):
    """The equations of the module, one coordinate after the other."""
    d = x.shape[1]
    gap = np.abs(PLACES[:, None] - PLACES[None])
    taper = np.asarray(gaspari_cohn(jnp.minimum(gap, d - gap) / (RADIUS * (10 / 3) ** 0.5)))
    e, p, r = y - x.mean(0), x.var(0, ddof=1), STD**2
    anomalies, asked, factors, along = x - x.mean(0), x.copy(), np.ones(d), np.zeros_like(x)
    for j in range(d):
        rho = taper[j]
        bound = rho.sum() + threshold * (2 * (rho**2).sum()) ** 0.5

        def surprise(f, rho=rho, bound=bound):
            return (rho * e**2 / (f**2 * p + r)).sum() - bound

        if surprise(1.0) <= 0:
            continue
        low, high = 1.0, 1e4
        for _ in range(60):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if surprise(middle) > 0 else (low, middle)
        v = (anomalies * (rho * e / (p + r))[None]).sum(1)
        along[:, j] = v * (v @ anomalies[:, j]) / (v @ v)
        factors[j] = low
        asked[:, j] += (low - 1) * along[:, j]

    def evidence(members):
        return np.log(np.exp(-0.5 * (y - members) ** 2 / r).sum(0))

    gain = evidence(asked) - evidence(x)
    for j in range(d):
        agreed = factors[j] > 1 and (taper[j] * gain).sum() > np.log(odds)
        factors[j] = min(factors[j], largest) if agreed else 1
    return x + (factors - 1) * along, factors


def test_widening_is_that_of_the_equations(x64, key):
    x, y = problem(key, jnp.float64)
    y = y.at[30].set(2.5)  # surprising by itself, not among its neighbours
    expected, factors = by_loops(np.asarray(x), np.asarray(y), 10.0, 20.0, 1.5)
    assert 5 <= (factors > 1).sum() < 15
    assert set(np.flatnonzero(factors > 1)) <= {*range(9), *range(56, 60)}
    found, *_, lost = widened(LostNeighbourhoods(), x, y)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(lost, factors > 1)
    free, factors = by_loops(np.asarray(x), np.asarray(y), 10.0, 20.0, 100.0)
    assert factors.max() > 2
    rule = LostNeighbourhoods(largest_factor=100.0)
    np.testing.assert_allclose(widened(rule, x, y)[0], free, rtol=2e-3, atol=2e-3)


def test_lists_and_tables_widen_alike(x64, key):
    x, y = problem(key, jnp.float64)
    listed = WHERE.listed()
    assert listed.lists is not None
    one, other = (widened(LostNeighbourhoods(), x, y, where=w) for w in (WHERE, listed))
    np.testing.assert_allclose(one[0], other[0], atol=1e-12)


def test_sound_forecasts_keep_their_bits(key, dtype):
    x, _ = problem(key, dtype)
    y = (STD**2 + 0.09) ** 0.5 * jax.random.normal(jax.random.key(3), (D,), dtype)
    np.testing.assert_array_equal(widened(LostNeighbourhoods(), x, y)[0], x)
    missing = jnp.full(D, jnp.nan, dtype)
    np.testing.assert_array_equal(widened(LostNeighbourhoods(), x, missing)[0], x)


def test_predictions_follow_the_members(key):
    x, y = problem(key)
    members, _, predictions, _ = widened(LostNeighbourhoods(), x, y)
    assert not np.array_equal(members, x)
    np.testing.assert_array_equal(predictions, members)


def test_an_outlier_of_heavy_tailed_noise_is_not_lost(key):
    """The second witness knows the density: Laplace noise is often five deviations off."""
    x, y = problem(key)
    laplace = kd.LaplaceObservation(kd.Identity(), 1.0)
    np.testing.assert_array_equal(widened(LostNeighbourhoods(), x, y, laplace)[0], x)


def test_what_is_flat_around_all_members_is_lost_all_the_same(key):
    """Widening by half gains nothing there: the witness is asked about as much as it takes."""
    x = 20 + 0.1 * jax.random.normal(key, (40, D))
    arctan = kd.GaussianObservation(jnp.arctan, 0.05)
    y = jnp.arctan(jnp.full(D, -3.0))
    found = widened(LostNeighbourhoods(), x, y, arctan)[0]
    np.testing.assert_allclose(found.mean(axis=0), x.mean(axis=0), rtol=1e-5)
    ratio = found.std(axis=0) / x.std(axis=0)
    assert (ratio > 1.03).all() and (ratio < 1.501).all()


def test_what_cannot_be_predicted_anew_is_not_widened(key):
    """Of a simulator alone h is a regression, which knows nothing beyond the members."""
    x, y = problem(key)
    forecast = predicted(OBS, x, y, noise="pairs")
    near = WHERE.near(D, D, x.dtype)
    found, lost = LostNeighbourhoods().widen(forecast, near)
    assert found is forecast and not np.any(lost)


def test_a_lost_place_keeps_the_spread_of_its_forecast_and_others_their_bits(key, dtype):
    forecast, _ = problem(key, dtype)
    analysis = forecast * jnp.linspace(0.2, 2.0, D, dtype=dtype)[None] + 1
    lost = (jnp.arange(D) % 2).astype(dtype)
    found = LostNeighbourhoods().spread_kept(analysis, forecast, lost)
    np.testing.assert_array_equal(found[:, ::2], analysis[:, ::2])
    expected = np.maximum(forecast.std(axis=0), analysis.std(axis=0))[1::2]
    np.testing.assert_allclose(found.std(axis=0)[1::2], expected, rtol=1e-4)
    np.testing.assert_allclose(found.mean(axis=0), analysis.mean(axis=0), rtol=1e-4)
    constant = jnp.ones_like(analysis)
    np.testing.assert_array_equal(
        LostNeighbourhoods().spread_kept(constant, forecast, lost), constant
    )


def test_increments_are_bounded_and_smaller_ones_kept(key):
    x, _ = problem(key)
    moved = jnp.stack([x + 0.5, x.at[:, 3].add(-100.0), 2 * x])
    found = LostNeighbourhoods().bounded(moved, x)
    np.testing.assert_array_equal(found[0], moved[0])
    np.testing.assert_array_equal(found[2], moved[2])
    std = x[:, 3].std(ddof=1)
    np.testing.assert_allclose(found[1, :, 3], x[:, 3] - 4 * std, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(NEVER.bounded(moved, x)[1], moved[1])


def test_lost_neighbourhoods_of_a_large_field_find_the_truth():
    """`enff-l96` of 12 members at d = 1000: without it, some regions stay lost and grow in most."""
    d, places = 1000, np.arange(1000.0)
    model = kd.Lorenz96(interval=0.1, substeps=4)
    observed = kd.GaussianObservation(jnp.arctan, 0.05)
    where = kd.Localisation(places, places, 4.0, 1000.0)

    def last_error(rule, seed):
        truth_key, member_key, run_key = jax.random.split(jax.random.key(seed), 3)
        start = 8 + jax.random.normal(truth_key, (d,))
        settled = jax.lax.fori_loop(0, 100, lambda _, x: model.step(run_key, x, 0.0), start)
        truth, ys = kd.twin_experiment(run_key, model, observed, settled, 40)
        members = jax.random.normal(member_key, (12, d))
        scheme = kd.LEnKPF(where, lost_neighbourhoods=rule)
        result = kd.assimilate(run_key, model, observed, scheme, members, ys)
        return kd.metrics.rmse(result.mean, truth)[-10:].mean(), jnp.all(result.info.ok)

    all_errors = quick(jax.vmap(last_error, in_axes=(None, 0)))
    error, ok = all_errors(LostNeighbourhoods(), jnp.arange(1, 5))
    assert ok.all() and error.max() < 0.1  # EnFF, 20 members, .172, EnSF .403
    without, _ = all_errors(NEVER, jnp.arange(1, 5))
    assert without.mean() > 0.3, without  # a run may have no region that is lost


@pytest.mark.parametrize(
    "name", ["outlier_threshold", "odds", "largest_factor", "largest_increment"]
)
def test_bad_options_are_named(name):
    with pytest.raises(ValueError, match=name):
        LostNeighbourhoods(**{name: -1.0})
