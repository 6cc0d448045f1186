"""The cycle: resuming, looping, missing measurements, symmetry under permutation, batching."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import schemes as registry
from schemes import quick

import kdediff_jax as kd

N, MISSING = 12, 2
NAN = float("nan")


def kde(sampler, state_bandwidth=0.4):
    return kd.KDEDiffusion(state_bandwidth, 0.5, sampler=sampler)


SCHEMES = {
    "flow": lambda: kde(kd.ProbabilityFlow(latents="independent")),
    "enkf": lambda: kd.EnKF(inflation=1.05),
    "sir": lambda: kd.SIR(jitter=0.5),
}


class Drift(kd.AbstractDynamics):
    interval: float = 0.1

    def step(self, key, x, t):
        return x + self.interval * jnp.stack([x[1], -x[0] + 0.1 * t])


class Turn(kd.AbstractDynamics):
    interval: float = 0.1

    def step(self, key, x, t):
        return x + self.interval * (jnp.roll(x, 1) + 0.1 * t)


class Record(kd.AbstractAnalysis):
    """Leave the ensemble alone; the mean is what `sample` returns for the first member."""

    def analyse(self, key, forecast, alive, y, observation, t):
        mean = observation.sample(key, forecast[0], t)
        return kd.Outcome(forecast, mean, jnp.asarray(2.0, forecast.dtype), alive)


def observe(*indices, std=0.5):
    return kd.GaussianObservation(kd.Select(indices), std)


def members(dtype="float32"):
    return jax.random.normal(jax.random.key(1), (N, 2), dtype)


YS = np.array([[0.5, -0.2], [0.1, NAN], [NAN, NAN], [0.3, 0.4]])


def keep(output):
    return output.forecast, output.analysis, output.t


def run(analysis, ys=YS, **kwargs):
    return kd.assimilate(
        jax.random.key(0), Drift(), observe(0, 1), analysis, members(), jnp.asarray(ys), **kwargs
    )


def same(a, b):
    """Assert that two trees are equal bit for bit, random keys included."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


def close(a, b):
    """Assert that two trees are equal to a few roundings, random keys and integers exactly."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jnp.floating):
            np.testing.assert_allclose(x, y, rtol=3e-6, atol=1e-6)
        else:
            same(x, y)


@pytest.mark.parametrize("name", SCHEMES)
def test_chunks_and_loops_repeat_an_uninterrupted_run(name):
    analysis, modules = SCHEMES[name](), (Drift(), observe(0, 1))
    whole = run(analysis, save=keep)
    assert np.all(whole.info.ok)
    forecast, members_, t = whole.saved
    np.testing.assert_allclose(t, [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    # only the row without any measurement leaves the ensemble alone, bit for bit
    unchanged = np.all(np.asarray(forecast) == np.asarray(members_), axis=(1, 2))
    np.testing.assert_array_equal(unchanged, np.arange(4) == MISSING)
    # chunks, bit for bit
    first = run(analysis, YS[:2], save=keep)
    second = kd.resume(first.state, *modules, analysis, jnp.asarray(YS[2:]), save=keep)
    chunks = [(r.saved, r.info) for r in (first, second)]
    same(jax.tree.map(lambda *x: np.concatenate(x), *chunks), (whole.saved, whole.info))
    same(second.state, whole.state)
    same(whole.state.key, jax.random.key(0))  # cycle k folds k into the run's own key
    # one cycle at a time is another program: the same to rounding
    state = kd.init(jax.random.key(0), members())
    for k, y in enumerate(YS):
        state, output = kd.cycle(state, *modules, analysis, jnp.asarray(y))
        expected = jax.tree.map(lambda x, k=k: x[k], (whole.saved, whole.info))
        close((keep(output), output.info), expected)
    close(state, whole.state)


def test_what_save_stores():
    whole, default = run(Record(), save=kd.save_ensembles), run(Record())
    assert whole.saved.shape == (4, N, 2)
    np.testing.assert_array_equal(whole.ensemble, whole.saved[-1])
    np.testing.assert_allclose(default.spread, np.std(whole.saved, axis=1, ddof=1), rtol=1e-5)
    same(default.mean, default.saved.mean)
    with pytest.raises(AttributeError, match="spread: not stored by this `save`"):
        _ = whole.spread


def test_vmap_is_a_loop():
    def one(key, bandwidth, ys):
        analysis = kde(kd.ExactMixture(), bandwidth)
        result = kd.assimilate(key, Drift(), observe(0, 1), analysis, members(), ys)
        return result.mean, result.info.ess

    # all three at once: one random key, one bandwidth and one series for each run
    keys, bandwidths = jax.random.split(jax.random.key(5), 3), jnp.asarray([0.1, 0.3, 1.0])
    ys = jnp.asarray([YS[:2], YS[2:], YS[1:3]], "float32")
    batched, single = quick(jax.vmap(one))(keys, bandwidths, ys), quick(one)
    for k in range(3):
        for a, b in zip(single(keys[k], bandwidths[k], ys[k]), batched, strict=True):
            np.testing.assert_allclose(b[k], a, rtol=1e-4, atol=1e-5)  # rounding, over 2 cycles


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", registry.SCHEMES)
def test_dtype_is_the_ensembles_not_the_default(name, dtype, x64):
    own, (forecast, y) = registry.problem(name), registry.data(name)

    def whole(key, ensemble, ys):
        modules = Turn(), own.observation, registry.SCHEMES[name].build(own)
        return kd.assimilate(key, *modules, ensemble, ys)

    # shapes alone: strict promotion raises while tracing
    shape = jax.eval_shape(whole, jax.random.key(0), forecast.astype(dtype), np.stack(4 * [y]))
    floats = [x for x in jax.tree.leaves(shape) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {x.dtype.name for x in floats} == {dtype}
    assert shape.mean.shape == (4, forecast.shape[1])


def test_users_float_does_not_recompile():
    traces = []

    class Spring(kd.AbstractDynamics):
        interval: float = 0.1

        def step(self, key, x, t):
            traces.append(t)
            return x + self.interval * x[::-1]

    def mean(interval):
        args = Spring(interval), observe(0), kd.EnKF(), members(), jnp.full((2, 1), 0.3)
        return kd.assimilate(jax.random.key(0), *args).mean

    first = mean(0.1)
    count = len(traces)
    assert np.abs(mean(0.2) - first).max() > 1e-3
    assert len(traces) == count


class BlackBox(kd.AbstractObservation):
    def sample(self, key, x, t):
        return jnp.abs(x[:1]) * jnp.exp(0.2 * jax.random.normal(key, (1,), x.dtype))


BLACK_BOX = {
    "kde": lambda: kde(kd.ExactMixture()),
    "enkf": lambda: kd.EnKF(),
    "enkpf": lambda: kd.EnKPF(),
}


@pytest.mark.parametrize("name", BLACK_BOX)
def test_black_box_observation(name):
    @quick
    def mean(ys):
        modules = Drift(), BlackBox(), BLACK_BOX[name]()
        return kd.assimilate(jax.random.key(0), *modules, members() + 1.0, ys).mean[-1, 0]

    # three looks at |x0| = 2 pull a mean that starts near 1 towards it
    assert abs(mean(jnp.full((3, 1), 2.0)) - 2) < 0.5 * abs(mean(jnp.full((3, 1), NAN)) - 2)


class Clock(kd.AbstractDynamics):
    interval: float = 0.25

    def step(self, key, x, t):
        return jnp.stack([t, x[1] + 1])


class TimeOnly(kd.AbstractObservation):
    def sample(self, key, x, t):
        return jnp.stack([t, x[1]])


def test_times_of_step_and_sample():
    t0, ends = 10.0, 10.0 + 0.25 * np.arange(1, 5)
    ensemble, ys = jnp.zeros((2, 2)), jnp.zeros((4, 2))
    modules = Clock(), TimeOnly(), Record()
    first = kd.assimilate(jax.random.key(0), *modules, ensemble, ys, t0=t0, save=keep)
    forecast, _, t = first.saved
    np.testing.assert_allclose(forecast[:, 0, 0], ends - 0.25, rtol=1e-6)  # step: interval's start
    np.testing.assert_allclose(t, ends, rtol=1e-6)
    # sample: its end, and the first measurement comes after one step
    np.testing.assert_allclose(first.mean, np.stack([ends, [1, 2, 3, 4]], -1), rtol=1e-6)
    second = kd.resume(first.state, *modules, ys)
    np.testing.assert_allclose(second.mean[:, 0], ends + 1, rtol=1e-6)  # resumed: the clock goes on
    truth, measured = kd.twin_experiment(jax.random.key(0), *modules[:2], jnp.zeros(2), 4, t0=t0)
    np.testing.assert_allclose(truth, np.stack([ends - 0.25, [1, 2, 3, 4]], -1), rtol=1e-6)
    np.testing.assert_allclose(measured, np.stack([ends, [1, 2, 3, 4]], -1), rtol=1e-6)


def test_online_intervals_of_any_length_add_up():
    state, times = kd.init(jax.random.key(0), members()), []
    for interval in (1.0, 0.5, 2.0):
        modules = kd.RandomWalk(interval=interval), observe(0, 1), Record()
        state, output = kd.cycle(state, *modules, jnp.asarray(YS[0]))
        times.append(float(output.t))
    assert times == [1.0, 1.5, 3.5] and state.t == state.elapsed == 3.5


class Tide(kd.AbstractDynamics):
    interval: float = 60.0

    def step(self, key, x, t):
        return jnp.stack([t, x[1]])


def elapsed(output):
    return output.forecast[0, 0], output.t, output.elapsed


def test_no_minute_is_lost_in_seconds_since_1970():
    t0, ends = 1.7e9, 60.0 * np.arange(1, 6)
    arguments = observe(1), Record(), members(), jnp.zeros((5, 1))
    result = kd.assimilate(jax.random.key(0), Tide(), *arguments, t0=t0, origin=t0, save=elapsed)
    start, t, since = result.saved
    np.testing.assert_array_equal(start, ends - 60)  # what `step` got
    np.testing.assert_array_equal(t, ends)
    np.testing.assert_array_equal(since, ends)
    assert result.state.t0 == np.float32(t0) and result.state.elapsed == 300
    # without an origin t is rounded once, which a model that uses it is told; no step is lost
    with pytest.warns(UserWarning, match=r"t0: 1700000000 is known to .* give origin=1700000000"):
        result = kd.assimilate(jax.random.key(0), Tide(), *arguments, t0=t0, save=elapsed)
    np.testing.assert_array_equal(result.saved[1], (t0 + ends).astype("float32"))
    np.testing.assert_array_equal(result.saved[2], ends)
    model = kd.RandomWalk(interval=60.0)  # which does not use it: no warning
    assert kd.assimilate(jax.random.key(0), model, *arguments, t0=t0).state.elapsed == 300
