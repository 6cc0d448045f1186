"""What every scheme promises of its answers, one test a promise, for each of `schemes.SCHEMES`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import (
    MEMBERS,
    SCHEMES,
    changed,
    data,
    first_of_each_class,
    problem,
    quick,
    run,
    size,
)

import kdediff_jax as kd
from kdediff_jax.analysis.base import AbstractKalmanAnalysis
from kdediff_jax.analysis.members import replace_dead

NAN, INF = float("nan"), float("inf")
NAMES = [*SCHEMES]
CLASSES = first_of_each_class()
KEYS = 16  # of a comparison in law


def same_law(name, one, other, back=1.0, slack=1e-9):
    """Assert that two analyses have the same moments, but for their scatter over random keys."""
    differences = []
    for seed in range(KEYS):
        a, b = run(name, seed=seed, **one)[0], run(name, seed=seed, **other)[0] * back
        differences.append(np.concatenate([(a - b).mean(axis=0), a.var(axis=0) - b.var(axis=0)]))
    error = np.std(differences, axis=0, ddof=1) / KEYS**0.5
    assert (np.abs(np.mean(differences, axis=0)) < 5 * error + slack).all()


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_dtypes_are_the_forecasts(name, dtype):
    forecast, _ = data(name)
    analysis, info = run(name, dtype)
    assert isinstance(info, kd.AnalysisInfo) and info.ok and info.num_masked == 0
    assert analysis.shape == forecast.shape and info.mean.shape == forecast.shape[1:]
    assert [x.shape for x in info[:-1]] == 8 * [()]
    assert {x.dtype for x in (analysis, info.mean, info.ess)} == {dtype}
    counts = info.num_steps, info.num_rejected, info.num_masked, info.num_gross_errors
    assert {x.dtype.name for x in counts} == {"int32"} and info.ok.dtype == bool
    assert 1 <= info.ess <= MEMBERS * (1 + 1e-5) and np.isfinite(analysis).all()
    assert np.abs(analysis - forecast).max() > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_members_that_are_not_finite_are_replaced_and_counted(name, dtype):
    forecast, _ = data(name)
    bad = changed(forecast, (1, NAN), ((4, 1), INF), ((6, 0), -INF))
    analysis, info = run(name, dtype, forecast=bad)
    assert info.ok and info.num_masked == 3 and np.isfinite(info.mean).all()
    assert (np.abs(analysis - forecast.mean(axis=0)) < 8 * forecast.std(axis=0)).all()
    # one survivor is no ensemble: the forecast as it came, and a flag
    lost = changed(forecast, (slice(1, None), NAN))
    analysis, info = run(name, dtype, forecast=lost)
    assert not info.ok and info.num_masked == MEMBERS - 1
    np.testing.assert_array_equal(analysis, lost.astype(dtype))
    _, info = run(name, dtype, forecast=np.full_like(forecast, NAN))
    assert not info.ok and np.isnan(info.mean).all()
    # few are enough to go on, though not to be trusted
    analysis, info = run(name, dtype, forecast=changed(forecast, (slice(4, None), NAN)))
    assert not info.ok and np.isfinite(analysis).all()


@pytest.mark.parametrize("distance", [1e4, 1e10, 1e30])
@pytest.mark.parametrize("name", NAMES)
def test_members_far_beyond_all_others_are_replaced_and_counted(name, distance, dtype):
    """As if they were not numbers at all."""
    forecast, _ = data(name)
    far = changed(forecast, ((3, 1), distance), ((9, 0), -distance))
    analysis, info = run(name, dtype, forecast=far)
    same, same_info = run(name, dtype, forecast=changed(forecast, (3, NAN), (9, NAN)))
    assert info.ok and info.num_masked == 2
    np.testing.assert_array_equal(analysis, same)
    np.testing.assert_array_equal(info.mean, same_info.mean)


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_member_changes_nothing_of_the_others(name, x64):
    """Its stand-in is made of two others: the same law as if it had been that one."""
    forecast, y = data(name)
    own = problem(name)
    misfit = (((y - forecast @ own.matrix.T) / own.std) ** 2).sum(axis=1)
    dead = int(np.argmax(misfit[1:]))  # before the member that weighs least
    masked = changed(forecast, (dead, NAN))
    copied = np.asarray(replace_dead(jnp.asarray(masked), np.arange(len(masked)) != dead))
    analysis, info = run(name, forecast=masked)
    assert info.num_masked == 1
    whatever = changed(forecast, ((dead, 1), INF))
    np.testing.assert_array_equal(run(name, forecast=whatever)[0], analysis)
    if SCHEMES[name].copies:
        same = run(name, forecast=copied)[0]
        np.testing.assert_allclose(same, analysis, rtol=1e-9, atol=1e-9)
    else:
        same_law(name, {"forecast": masked}, {"forecast": copied}, slack=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_component_says_nothing(name, x64):
    """Neither what is predicted of it nor how precise it would have been matters."""
    _, y = data(name)
    own, partial = problem(name), changed(y, (1, NAN))
    other = own._replace(
        matrix=changed(own.matrix, (1, 3 * own.matrix[0] - 2)), std=changed(own.std, (1, 0.1))
    )
    analysis, info = run(name, y=partial)
    same, same_info = run(name, y=partial, of=other)
    assert info.ok
    np.testing.assert_allclose(same, analysis, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(same_info.ess, info.ess, rtol=1e-9)
    assert np.abs(run(name)[0] - analysis).max() > 0.05  # it would have said something
    unpredicted = own._replace(matrix=changed(own.matrix, (1, NAN)))
    same, same_info = run(name, y=partial, of=unpredicted)
    np.testing.assert_allclose(same, analysis, rtol=1e-9, atol=1e-9)
    assert same_info.ok and same_info.num_masked == 0
    # a measurement of what nobody predicts says nothing either
    same, same_info = run(name, of=unpredicted)
    np.testing.assert_allclose(same, analysis, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_member_without_a_component_keeps_its_say_on_the_others(name, x64):
    """What it lacks follows from its state, nearly as it would have been predicted."""
    forecast, _ = data(name)
    limit = np.sort(forecast[:, 0])[-4]  # three members
    whole = [run(name, seed=seed) for seed in range(KEYS)]
    partial = [run(name, seed=seed, of=problem(name)._replace(limit=limit)) for seed in range(KEYS)]
    assert all(info.ok and info.num_masked == 0 for _, info in partial)
    moments = ([a.mean(axis=0) for a, _ in runs] for runs in (whole, partial))
    change = np.subtract(*(np.mean(m, axis=0) for m in moments))
    assert (np.abs(change) < 0.25 * forecast.std(axis=0)).all()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_measured_leaves_the_forecast_bit_for_bit(name, dtype):
    forecast, y = data(name)
    for members, sound in ((forecast, MEMBERS), (changed(forecast, (-1, NAN)), MEMBERS - 1)):
        analysis, info = run(name, dtype, forecast=members, y=np.full_like(y, NAN))
        np.testing.assert_array_equal(analysis[:sound], members[:sound].astype(dtype))
        assert info.ok and info.num_steps == 0 and np.isnan(info.normalised_innovation)
        np.testing.assert_allclose(info.mean, analysis.mean(axis=0), rtol=1e-5, atol=1e-6)
        assert np.isfinite(analysis).all() and info.num_masked == MEMBERS - sound


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_members_does_not_matter(name, x64):
    forecast, _ = data(name)
    order = np.random.default_rng(0).permutation(MEMBERS)
    if SCHEMES[name].deterministic:
        moved, _ = run(name, seed=1, forecast=forecast[order])
        np.testing.assert_allclose(moved, run(name)[0][order], rtol=1e-9, atol=1e-9)
    else:
        same_law(name, {}, {"forecast": forecast[order]})


def units(size):
    """Return units with one entry large or small, and all of them mixed."""
    one = [np.where(np.arange(size) == j, unit, 1.0) for unit in (1e6, 1e-6) for j in range(size)]
    return [*one, 1e6 ** np.linspace(1, -1, size)]


def unit_free(name, dtype, every):
    """Assert that a scheme in each of some (state's, measurement's) units is itself, rescaled."""
    forecast, y = data(name)
    plain, info = run(name, dtype)
    tolerance = 1e-6 if dtype == "float64" else 1e-2
    for state, obs in every:
        other = {"forecast": forecast * state, "y": y * obs, "of": problem(name).scaled(state, obs)}
        analysis, scaled = run(name, dtype, **other)
        assert scaled.ok, (state, obs)
        np.testing.assert_allclose(scaled.ess, info.ess, rtol=tolerance)
        if not SCHEMES[name].turned:
            np.testing.assert_allclose(analysis / state, plain, rtol=0, atol=tolerance)
        elif dtype == "float64":
            same_law(name, {}, other, 1 / state)


BOTH = [(name, dtype) for dtype in ("float32", "float64") for name in NAMES]


@pytest.mark.parametrize(("name", "dtype"), BOTH, indirect=["dtype"])
def test_units_of_the_state_do_not_matter(name, dtype):
    d, m = size(name)
    unit_free(name, dtype, [(state, np.ones(m)) for state in units(d)])


@pytest.mark.parametrize(("name", "dtype"), BOTH, indirect=["dtype"])
def test_units_of_the_measurement_do_not_matter(name, dtype):
    d, m = size(name)
    unit_free(name, dtype, [(np.ones(d), obs) for obs in units(m)])


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_coordinate_stays_finite(name, dtype):
    """Measured, or not."""
    forecast, _ = data(name)
    for coordinate in (0, 2):
        constant = changed(forecast, ((slice(None), coordinate), 2.0))
        analysis, info = run(name, dtype, forecast=constant)
        assert info.ok and np.isfinite(analysis).all() and np.isfinite(info.mean).all()
        assert np.abs(analysis[:, coordinate] - 2).max() < 3


@pytest.mark.parametrize("name", NAMES)
def test_a_far_measurement_stays_finite(name, dtype):
    _, y = data(name)
    for far in (y + 1e4, changed(y, (0, -1e6)), changed(y, (0, 1e6), (1, NAN))):
        analysis, info = run(name, dtype, y=far)
        assert info.ok and np.isfinite(analysis).all() and np.isfinite(info.mean).all()
        assert 1 - 1e-5 <= info.ess <= MEMBERS * (1 + 1e-5)
        assert info.normalised_innovation > 1e4 or name == "sir"


KALMAN = [
    name for name in NAMES if isinstance(SCHEMES[name].build(problem(name)), AbstractKalmanAnalysis)
]


@pytest.mark.parametrize("gross", [-9999.0, 1e5, 1e12, 1e30])
@pytest.mark.parametrize("name", KALMAN)
def test_a_gross_error_is_as_good_as_missing_and_counted(name, gross, dtype):
    forecast, y = data(name)
    analysis, info = run(name, dtype, y=changed(y, (0, gross)))
    same, same_info = run(name, dtype, y=changed(y, (0, NAN)))
    np.testing.assert_array_equal(analysis, same)
    np.testing.assert_array_equal(info.mean, same_info.mean)
    assert info.ok and info.num_gross_errors == 1 and same_info.num_gross_errors == 0
    analysis, info = run(name, dtype, y=np.full_like(y, gross))
    np.testing.assert_array_equal(analysis, forecast.astype(dtype))
    assert info.ok and info.num_gross_errors == len(y)


@pytest.mark.parametrize("std", [0.0, 1e-30])
@pytest.mark.parametrize("name", KALMAN)
def test_a_component_without_noise_is_known_beside_others(name, std, dtype):
    """Its variance is 0, or none in float32, and infinitely many times below that of the others."""
    own = problem(name)
    y = own.matrix @ data(name)[0].mean(axis=0) + own.std
    found, info = run(name, dtype, y=y, of=own._replace(std=changed(own.std, (0, std))))
    assert info.ok and np.isfinite(found).all()
    predicted = found @ own.matrix.T
    before, after = ((data(name)[0] @ own.matrix.T).std(axis=0), predicted.std(axis=0))
    assert abs(predicted[:, 0].mean() - y[0]) < 0.05 * before[0]
    assert after[0] < 0.1 * before[0] and (0.05 * before < after)[1:].all()


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_cycle_is_flagged_and_the_forecast_goes_on(name, dtype):
    """An infinity that no check on the host could see; then a sound measurement."""
    forecast, y = data(name)
    bad = changed(forecast, (2, NAN))
    analysis, info = run(name, dtype, forecast=bad, y=changed(y, (0, INF)))
    assert not info.ok and np.isfinite(analysis).all() and np.isfinite(info.mean).all()
    sound = np.arange(MEMBERS) != 2
    mean = analysis.mean(axis=0)
    grown = (analysis - mean)[sound] / 1.05
    np.testing.assert_allclose(grown, (forecast - mean)[sound], rtol=1e-4, atol=1e-4)
    assert run(name, dtype, forecast=analysis)[1].ok


@functools.cache
def slopes(name):
    """Return the compiled (members, y, problem) -> a number and its gradients by members and y."""

    def total(forecast, y, own):
        scheme = SCHEMES[name].build(own)
        analysis, info = scheme(jax.random.key(3), forecast, y, own.observation)
        return jnp.sum(jnp.sin(analysis)) + jnp.sum(info.mean)

    return quick(jax.value_and_grad(total, argnums=(0, 1)))


def gradients(name, y, radius=20.0):
    """Return the value and its gradients, every measurement reaching every coordinate."""
    own = problem(name)._replace(radius=np.array(radius))
    return slopes(name)(*jax.tree.map(jnp.asarray, (data(name)[0], y, own)))


DIFFERENTIATED = [n for n in NAMES if n in CLASSES or SCHEMES[n].smooth]


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_gradients_are_finite(name, missing, x64):
    y = changed(data(name)[1], (1, NAN)) if missing else data(name)[1]
    _, (by_members, by_measurement) = gradients(name, y)
    assert np.isfinite(by_members).all() and np.isfinite(by_measurement).all()
    assert np.abs(by_members).max() > 1e-3
    if SCHEMES[name].smooth:
        step = 1e-6
        first = np.where(np.arange(len(y)) == 0, step, 0)
        difference = (gradients(name, y + first)[0] - gradients(name, y - first)[0]) / (2 * step)
        np.testing.assert_allclose(by_measurement[0], difference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_gradients_are_finite_beside_a_constant_coordinate(name, x64):
    forecast, y = data(name)
    forecast[:, -1] = 1
    arguments = forecast, y, problem(name)
    _, found = slopes(name)(*jax.tree.map(jnp.asarray, arguments))
    assert all(np.isfinite(each).all() for each in found)


LOCAL = [name for name in CLASSES if SCHEMES[name].localised]


@pytest.mark.parametrize("name", LOCAL)
def test_gradients_are_finite_with_an_unreached_coordinate(name, x64):
    _, (by_members, by_measurement) = gradients(name, data(name)[1], radius=0.25)
    assert np.isfinite(by_members).all() and np.isfinite(by_measurement).all()
