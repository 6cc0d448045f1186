"""What every scheme promises, one test a promise, for each scheme of `schemes.SCHEMES`."""

from __future__ import annotations

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import MEMBERS, SCHEMES, data, problem, quick, run, size, update

import kdediff_jax as kd
from kdediff_jax.observations import sample_ensemble

NAN, INF = float("nan"), float("inf")
NAMES = tuple(SCHEMES)
KEYS = 16  # of a comparison in law


def changed(array, *changes):
    """Return a copy with (place, value) set."""
    array = array.copy()
    for place, value in changes:
        array[place] = value
    return array


def same_law(name, one, other, back=1.0, slack=1e-9):
    """Assert that two analyses have the same moments, but for their scatter over random keys."""
    differences = []
    for seed in range(KEYS):
        a, b = run(name, seed=seed, **one)[0], run(name, seed=seed, **other)[0] * back
        differences.append(np.concatenate([(a - b).mean(axis=0), a.var(axis=0) - b.var(axis=0)]))
    error = np.std(differences, axis=0, ddof=1) / KEYS**0.5
    assert (np.abs(np.mean(differences, axis=0)) < 5 * error + slack).all()


def faulty(names, reason):
    """Return all names, those of schemes with a known fault marked as failing."""
    mark = pytest.mark.xfail(strict=True, reason=reason)
    return [pytest.param(name, marks=mark if name in names else ()) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_dtypes_are_the_forecasts(name, dtype):
    forecast, _ = data(name)
    analysis, info = run(name, dtype)
    assert isinstance(info, kd.AnalysisInfo) and info.ok and info.num_masked == 0
    assert analysis.shape == forecast.shape and info.mean.shape == forecast.shape[1:]
    assert [x.shape for x in info[:-1]] == 5 * [()]
    assert {x.dtype for x in (analysis, info.mean, info.ess)} == {dtype}
    counts = info.num_steps, info.num_rejected, info.num_masked
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


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_member_changes_nothing_of_the_others(name, x64):
    """Its stand-in is a copy of the next member: where all count, as if it had been that one."""
    forecast, y = data(name)
    own = problem(name)
    misfit = (((y - forecast @ own.matrix.T) / own.std) ** 2).sum(axis=1)
    dead = int(np.argmax(misfit[1:]))  # before the member that weighs least
    masked, copied = (changed(forecast, (dead, row)) for row in (NAN, forecast[dead + 1]))
    analysis, info = run(name, forecast=masked)
    assert info.num_masked == 1
    whatever = changed(forecast, ((dead, 1), INF))
    np.testing.assert_array_equal(run(name, forecast=whatever)[0], analysis)
    if SCHEMES[name].weighted:
        same_law(name, {"forecast": masked}, {"forecast": copied}, slack=0.02)
    else:
        np.testing.assert_array_equal(run(name, forecast=copied)[0], analysis)


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


@pytest.mark.parametrize("name", NAMES)
def test_nothing_measured_leaves_the_forecast_bit_for_bit(name, dtype):
    forecast, y = data(name)
    for members in (forecast, changed(forecast, (2, NAN))):
        analysis, info = run(name, dtype, forecast=members, y=np.full_like(y, NAN))
        np.testing.assert_array_equal(analysis, members.astype(dtype))
        assert info.ok and info.num_steps == 0
        np.testing.assert_allclose(info.mean, np.nanmean(members, axis=0), rtol=1e-5)


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


@pytest.mark.parametrize("name", NAMES)
def test_units_of_the_state_do_not_matter(name, dtype):
    d, m = size(name)
    unit_free(name, dtype, [(state, np.ones(m)) for state in units(d)])


@pytest.mark.parametrize("name", NAMES)
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
    assert not run(name, dtype, y=changed(y, (0, INF)))[1].ok  # a traced infinity is a flag


@pytest.fixture(scope="module")
def slopes():
    """Compiled gradients of every scheme: (name, y, radius) -> by members and by measurement."""
    programs = {}

    def of(name, y, radius=1.0):
        def total(forecast, y, own):
            scheme = SCHEMES[name].build(own)
            analysis, info = scheme(jax.random.key(3), forecast, y, own.observation)
            return jnp.sum(jnp.sin(analysis)) + jnp.sum(info.mean)

        if name not in programs:
            programs[name] = quick(jax.grad(total, argnums=(0, 1)))
        own = problem(name)._replace(radius=radius)
        arguments = jax.tree.map(lambda x: jnp.asarray(x, "float64"), (data(name)[0], y, own))
        return programs[name](*arguments)

    return of


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite(name, slopes, x64):
    by_members, by_measurement = slopes(name, data(name)[1])
    assert np.isfinite(by_members).all() and np.isfinite(by_measurement).all()
    assert np.abs(by_members).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_with_a_missing_component(name, slopes, x64):
    by_members, by_measurement = slopes(name, changed(data(name)[1], (1, NAN)))
    assert np.isfinite(by_members).all() and np.isfinite(by_measurement).all()


@pytest.mark.parametrize("name", [name for name in NAMES if SCHEMES[name].localised])
def test_gradients_are_finite_with_an_unreached_coordinate(name, slopes, x64):
    by_members, by_measurement = slopes(name, data(name)[1], radius=0.25)
    assert np.isfinite(by_members).all() and np.isfinite(by_measurement).all()


class Turn(kd.AbstractDynamics):
    interval: float = 0.1

    def step(self, key, x, t):
        return x + self.interval * (jnp.roll(x, 1) + 0.1 * t)


def keep(output):
    return output.forecast, output.analysis, output.t


@pytest.mark.parametrize("name", NAMES)
def test_cycles_in_a_loop_are_the_scan(name, x64):
    own, (forecast, y) = problem(name), data(name)
    modules = Turn(), own.observation, SCHEMES[name].build(own)
    ys = jnp.asarray(np.stack([y, changed(y, (0, NAN)), y + 0.2]))
    start = kd.init(jax.random.key(1), jnp.asarray(forecast))
    whole = quick(lambda state: kd.resume(state, *modules, ys, save=keep))(start)
    one = quick(lambda state, y: kd.cycle(state, *modules, y))
    state = start
    for k, y in enumerate(ys):
        state, output = one(state, y)
        expected = jax.tree.map(lambda x, k=k: x[k], (whole.saved, whole.info))
        for a, b in zip(jax.tree.leaves((keep(output), output.info)), jax.tree.leaves(expected)):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    assert state.index == whole.state.index == 3 and np.all(whole.info.ok)


BAD = {
    "forecast of one axis": ({"forecast": jnp.ones(4)}, ValueError, "forecast", "(4,)"),
    "one member": ({"forecast": jnp.ones((1, 3))}, ValueError, "forecast", "got 1"),
    "no coordinate": ({"forecast": jnp.ones((4, 0))}, ValueError, "forecast", "(4, 0)"),
    "integers": ({"forecast": jnp.ones((4, 3), int)}, TypeError, "forecast", "int"),
    "two axes of y": ({"y": jnp.ones((2, 1))}, ValueError, "y", "(2, 1)"),
    "another number of components": ({"y": jnp.ones(7)}, ValueError, "y|localisation", "7"),
    "integer y": ({"y": jnp.ones(2, int)}, TypeError, "y", "int"),
    "a class": ({"observation": kd.GaussianObservation}, TypeError, "observation", "Gaussian"),
    "no observation": ({"observation": 3.0}, TypeError, "observation", "float"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_named(name, case):
    own, (forecast, y) = problem(name), data(name)
    changes, error, argument, got = BAD[case]
    good = {"forecast": jnp.asarray(forecast, "float32"), "y": jnp.asarray(y, "float32")}
    arguments = {**good, "observation": own.observation, **changes}
    with pytest.raises(error) as caught:
        SCHEMES[name].build(own)(jax.random.key(0), **arguments)
    wanted, _, came = str(caught.value).partition("got")
    assert re.match(rf"({argument})\b", wanted) and got in "got" + came, caught.value


UPDATED = [name for name in NAMES if isinstance(SCHEMES[name].build(problem(name)), kd.AbstractPairedAnalysis)]


@pytest.mark.parametrize("name", UPDATED)
def test_update_needs_pairs_only(name, x64):
    """Finite and ok; bad pairs masked; nothing measured is no change; missing says nothing."""
    forecast, y = data(name)
    own = problem(name)
    noise = own.std * np.random.default_rng(8).normal(size=(MEMBERS, len(y)))
    simulated = forecast @ own.matrix.T + noise
    analysis, info = update(name, simulated)
    assert info.ok and analysis.shape == forecast.shape and analysis.dtype == "float64"
    assert np.abs(analysis - forecast).max() > 0.05
    _, info = update(name, changed(simulated, ((3, 0), NAN), ((5, 1), INF)))
    assert info.ok and info.num_masked == 2
    same, info = update(name, simulated, y=np.full_like(y, NAN))
    assert info.ok
    np.testing.assert_array_equal(same, forecast)
    partial = changed(y, (1, NAN))
    elsewhere = changed(simulated, ((slice(None), 1), 3 * simulated[:, 0] - noise[:, 1]))
    a, b = (update(name, pairs, y=partial)[0] for pairs in (simulated, elsewhere))
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in UPDATED if name.startswith(("kde", "enkf, p"))])
def test_update_is_the_call_with_its_own_simulated_measurements(name, x64):
    forecast, _ = data(name)
    predict_key, _ = jax.random.split(jax.random.key(0))
    if name.startswith("kde"):
        predict_key = jax.random.split(predict_key, 1)[0]  # the only replicate
    pairs = sample_ensemble(problem(name).observation, predict_key, jnp.asarray(forecast), 0.0)
    analysis, info = update(name, np.asarray(pairs))
    expected, expected_info = run(name)
    np.testing.assert_allclose(analysis, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(info.ess, expected_info.ess, rtol=1e-9)


def hidden_numbers(module, path=""):
    """Return the paths of Python floats in a module: each new value would be a new program."""
    if isinstance(module, eqx.Module):
        fields = [(f.name, getattr(module, f.name)) for f in dataclasses.fields(module)]
        return [p for name, value in fields for p in hidden_numbers(value, f"{path}.{name}")]
    return [path] if isinstance(module, float) else []


@pytest.mark.parametrize("name", NAMES)
def test_another_number_is_the_same_program(name):
    """Every number is an array leaf of the key by which compiled programs are found."""
    scheme = SCHEMES[name].build(problem(name))
    assert not hidden_numbers(scheme)
    numbers = jax.tree.map(lambda x: 1.1 * x if eqx.is_inexact_array(x) else x, scheme)
    traced = []

    @eqx.filter_jit
    def program(scheme):
        traced.append(None)
        return [jnp.sum(x) for x in jax.tree.leaves(scheme) if eqx.is_inexact_array(x)]

    before, after = program(scheme), program(numbers)
    assert len(traced) == 1 and sum(before) != sum(after)
