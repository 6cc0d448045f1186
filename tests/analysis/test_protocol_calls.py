"""How every scheme is called: cycles, pairs alone, bad input, one program for every number."""

from __future__ import annotations

import dataclasses
import re

import equinox as eqx
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
    update,
)

import kdediff_jax as kd
from kdediff_jax._typing import numbers_to_leaves
from kdediff_jax.observations import sample_ensemble

NAN, INF = float("nan"), float("inf")
NAMES = [*SCHEMES]
CLASSES = first_of_each_class()


class Turn(kd.AbstractDynamics):
    """A rotation that leaves no member in the interval from t = .2 to .3."""

    interval: float = 0.1

    def step(self, key, x, t):
        moved = x + self.interval * (jnp.roll(x, 1) + 0.1 * t)
        return jnp.where(jnp.abs(t - 0.2) < 0.05, jnp.nan, moved)


def keep(output):
    return output.forecast, output.analysis, output.t


@pytest.mark.parametrize("name", CLASSES)
def test_cycles_in_a_loop_are_the_scan(name):
    """In float32, where a rounding could tip a choice; and a cycle without members is no end."""
    own, (forecast, y) = problem(name), data(name)
    modules = Turn(), own.observation, SCHEMES[name].build(own)
    ys = jnp.asarray(np.stack([y, changed(y, (0, NAN)), y + 0.1, y + 0.2]))
    start = kd.init(jax.random.key(1), jnp.asarray(forecast))
    whole = quick(lambda state: kd.resume(state, *modules, ys, save=keep))(start)
    one = quick(lambda state, y: kd.cycle(state, *modules, y))
    state = start
    for k, y in enumerate(ys):
        state, output = one(state, y)
        expected = jax.tree.map(lambda x, k=k: x[k], (whole.saved, whole.info))
        found = jax.tree.leaves((keep(output), output.info))
        for a, b in zip(found, jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert state.index == whole.state.index == 4
    np.testing.assert_array_equal(whole.info.ok, [True, True, False, True])
    np.testing.assert_array_equal(whole.info.num_masked, [0, 0, MEMBERS, 0])
    assert all(np.isfinite(saved).all() for saved in whole.saved)


BAD = {
    "forecast of one axis": ({"forecast": jnp.ones(4)}, ValueError, "forecast", "(4,)"),
    "one member": ({"forecast": jnp.ones((1, 3))}, ValueError, "forecast", "got 1"),
    "no coordinate": ({"forecast": jnp.ones((4, 0))}, ValueError, "forecast", "(4, 0)"),
    "integers": ({"forecast": jnp.ones((4, 3), int)}, TypeError, "forecast", "int"),
    "two axes of y": ({"y": jnp.ones((2, 1))}, ValueError, "y", "(2, 1)"),
    "another number of components": ({"y": jnp.ones(7)}, ValueError, "y|localisation", "7"),
    "integer y": ({"y": jnp.ones(2, int)}, TypeError, "y", "int"),
    "a class": ({"observation": kd.GaussianObservation}, TypeError, "observation", "Gaussian"),
    "no observation": ({"observation": 3.0}, TypeError, "observation", "3.0"),
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


PAIRED = kd.AbstractPairedAnalysis
UPDATED = [n for n in CLASSES if isinstance(SCHEMES[n].build(problem(n)), PAIRED)]


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
    _, info = update(name, changed(simulated, (3, NAN), (5, INF)))
    assert info.ok and info.num_masked == 2
    some, info = update(name, changed(simulated, ((3, 0), NAN), ((5, 1), INF)))
    assert info.ok and info.num_masked == 0
    assert (np.abs((some - analysis).mean(axis=0)) < 0.3 * forecast.std(axis=0)).all()
    same, info = update(name, simulated, y=np.full_like(y, NAN))
    assert info.ok
    np.testing.assert_array_equal(same, forecast)
    partial = changed(y, (1, NAN))
    elsewhere = changed(simulated, ((slice(None), 1), 3 * simulated[:, 0] - noise[:, 1]))
    a, b = (update(name, pairs, y=partial)[0] for pairs in (simulated, elsewhere))
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["enkf, pairs", "kde, mixture"])
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


def hidden_numbers(module):
    """Return the static floats of a module: each new value would be a new program."""
    if not isinstance(module, eqx.Module):
        return []
    found = []
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        static = field.metadata.get("static", False) and isinstance(value, float)
        found += [field.name] if static else hidden_numbers(value)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_another_number_is_the_same_program(name):
    """Every number is an array leaf of the key by which compiled programs are found."""
    scheme = numbers_to_leaves(SCHEMES[name].build(problem(name)))
    assert not hidden_numbers(scheme)
    other = jax.tree.map(lambda x: 1.1 * x if eqx.is_inexact_array(x) else x, scheme)
    traced = []

    @eqx.filter_jit
    def program(scheme):
        traced.append(None)
        leaves = [x for x in jax.tree.leaves(scheme) if eqx.is_inexact_array(x)]
        return [jnp.sum(jnp.arctan(x)) for x in leaves]  # a threshold may be infinite

    before, after = program(scheme), program(other)
    assert len(traced) == 1 and sum(before) != sum(after)
