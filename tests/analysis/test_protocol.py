"""What every scheme promises, one test a promise, for each scheme of `schemes.SCHEMES`."""

from __future__ import annotations

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import MEMBERS, SCHEMES, UPDATED, analysed, data, problem, quick, size, updated

import kdediff_jax as kd
from kdediff_jax.observations import sample_ensemble

NAN, INF = float("nan"), float("inf")
NAMES = tuple(SCHEMES)
KEYS = 16  # of a comparison in law


def run(name, dtype="float64", *, seed=0, forecast=None, y=None, of=None):
    """Return (analysis, info) of a scheme's own problem, with some of it replaced."""
    own_forecast, own_y = data(name, dtype)
    forecast = own_forecast if forecast is None else forecast
    y = own_y if y is None else y
    return analysed(name)(jax.random.key(seed), forecast, y, of or problem(name, dtype))


def same_law(name, one, other, map_back=lambda x: x, rtol=1e-9):
    """Assert that two analyses have one mean and one variance, over the keys' own scatter."""

    def moments(arguments):
        found = [run(name, seed=seed, **arguments)[0] for seed in range(KEYS)]
        found = [np.asarray(x) for x in found]
        return found

    differences = []
    for a, b in zip(moments(one), moments(other), strict=True):
        a, b = (np.concatenate([x.mean(axis=0), x.var(axis=0)]) for x in (a, map_back(b)))
        differences.append(a - b)
    differences = np.asarray(differences)
    error = differences.std(axis=0, ddof=1) / KEYS**0.5
    assert (np.abs(differences.mean(axis=0)) < 5 * error + rtol).all()


def known_faults(names, reason):
    """Return every scheme's name, those named marked as failing for a known reason."""
    mark = pytest.mark.xfail(strict=True, reason=reason)
    return [pytest.param(name, marks=mark if name in names else ()) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_dtypes_are_the_forecasts(name, dtype):
    forecast, _ = data(name, dtype)
    analysis, info = run(name, dtype)
    assert isinstance(info, kd.AnalysisInfo) and info.ok and info.num_masked == 0
    assert analysis.shape == forecast.shape and info.mean.shape == forecast.shape[1:]
    assert all(x.shape == () for x in info if x is not info.mean)
    assert {x.dtype for x in (analysis, info.mean, info.ess)} == {dtype}
    assert info.ok.dtype == bool
    assert {x.dtype for x in (info.num_steps, info.num_rejected, info.num_masked)} == {jnp.int32}
    assert 1 <= info.ess <= MEMBERS * (1 + 1e-5) and np.isfinite(analysis).all()
    assert np.abs(analysis - forecast).max() > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_members_that_are_not_finite_are_replaced_and_counted(name, dtype):
    forecast, _ = data(name, dtype)
    bad = forecast.at[1].set(NAN).at[4, 1].set(INF).at[6, 0].set(-INF)
    analysis, info = run(name, dtype, forecast=bad)
    assert info.ok and info.num_masked == 3
    assert np.isfinite(analysis).all() and np.isfinite(info.mean).all()
    spread = forecast.std(axis=0)
    assert (np.abs(analysis - forecast.mean(axis=0)) < 8 * spread).all()
    # one survivor is no ensemble: the forecast, flagged
    lost = forecast.at[1:].set(NAN)
    analysis, info = run(name, dtype, forecast=lost)
    assert not info.ok and info.num_masked == MEMBERS - 1
    np.testing.assert_array_equal(analysis, lost)


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_member_changes_nothing_of_the_others(name, x64):
    """Its stand-in is a copy of the next member: where all count, as if it had been that one."""
    forecast, y = data(name)
    own = problem(name)
    misfit = ((y - forecast @ own.matrix.T) / own.std) ** 2
    dead = int(np.argmax(misfit[1:].sum(axis=1)))  # before the one that weighs least
    masked = {"forecast": forecast.at[dead].set(NAN)}
    copied = {"forecast": forecast.at[dead].set(forecast[dead + 1])}
    analysis, info = run(name, **masked)
    assert info.num_masked == 1
    other, _ = run(name, forecast=forecast.at[dead, 1].set(INF))
    np.testing.assert_array_equal(analysis, other)  # whatever was there
    if not SCHEMES[name].weighted:
        np.testing.assert_array_equal(analysis, run(name, **copied)[0])
    else:
        same_law(name, masked, copied, rtol=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_component_says_nothing(name, x64):
    """Neither what is predicted of it, nor how precise it would have been."""
    _, y = data(name)
    own = problem(name)
    y = y.at[1].set(NAN)
    elsewhere = own._replace(
        matrix=own.matrix.at[1].set(3 * own.matrix[0] - 2), std=own.std.at[1].set(0.1)
    )
    analysis, info = run(name, y=y)
    other, same = run(name, y=y, of=elsewhere)
    assert info.ok
    np.testing.assert_allclose(other, analysis, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(same.ess, info.ess, rtol=1e-9)
    assert np.abs(run(name)[0] - analysis).max() > 0.05  # and it would have said something


@pytest.mark.parametrize("name", NAMES)
def test_nothing_measured_leaves_the_forecast_bit_for_bit(name, dtype):
    forecast, y = data(name, dtype)
    for members in (forecast, forecast.at[2].set(NAN)):
        analysis, info = run(name, dtype, forecast=members, y=jnp.full_like(y, NAN))
        np.testing.assert_array_equal(analysis, members)
        assert info.ok and info.num_steps == 0
        np.testing.assert_allclose(info.mean, np.nanmean(members, axis=0), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_members_does_not_matter(name, x64):
    forecast, _ = data(name)
    order = np.random.default_rng(0).permutation(MEMBERS)
    if SCHEMES[name].deterministic:
        analysis, moved = run(name)[0], run(name, forecast=forecast[order], seed=1)[0]
        np.testing.assert_allclose(moved, analysis[order], rtol=1e-9, atol=1e-9)
    else:
        same_law(name, {}, {"forecast": forecast[order]})


def units(name):
    """Return pairs of (state's units, measurement's units): each one large, small, all mixed."""
    d, m = size(name)
    for unit in (1e6, 1e-6):
        yield from ((np.where(np.arange(d) == j, unit, 1.0), np.ones(m)) for j in range(d))
        yield from ((np.ones(d), np.where(np.arange(m) == k, unit, 1.0)) for k in range(m))
    yield 1e6 ** np.linspace(1, -1, d), 1e6 ** np.linspace(-1, 1, m)


@pytest.mark.parametrize("name", NAMES)
def test_units_do_not_matter(name, dtype):
    forecast, y = data(name, dtype)
    own = problem(name, dtype)
    plain, info = run(name, dtype)
    tolerance = 1e-6 if dtype == "float64" else 1e-2
    for state, obs in units(name):
        other = {
            "forecast": forecast * jnp.asarray(state, dtype)[None],
            "y": y * jnp.asarray(obs, dtype),
            "of": own.scaled(state, obs),
        }
        analysis, scaled = run(name, dtype, **other)
        assert scaled.ok, (state, obs)
        np.testing.assert_allclose(
            scaled.ess, info.ess, rtol=tolerance, err_msg=f"{state} {obs}"
        )
        if SCHEMES[name].turned:
            same_law(name, {}, other, lambda x, state=state: x / state[None])
        else:
            np.testing.assert_allclose(
                np.asarray(analysis) / state[None], plain, rtol=0, atol=tolerance,
                err_msg=f"{state} {obs}",
            )  # fmt: skip
