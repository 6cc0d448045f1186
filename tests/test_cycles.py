"""The cycle: resuming, looping, missing measurements, symmetry under permutation, batching."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.analysis.base import AbstractAnalysis, Outcome

N, MISSING = 12, 2
NAN = float("nan")


def kde(sampler, **kwargs):
    kwargs = {"state_bandwidth": 0.4, "obs_bandwidth": 0.5, **kwargs}
    return kd.KDEDiffusion(sampler=sampler, **kwargs)


SCHEMES = {
    "flow": lambda: kde(kd.ProbabilityFlow(latents="independent")),
    "sde": lambda: kde(kd.ReverseSDE(num_steps=20)),
    "exact": lambda: kde(kd.ExactMixture()),
    "enkf known": lambda: kd.EnKF(inflation=1.05),
    "enkf sampled": lambda: kd.EnKF(noise="sampled"),
    "sir": lambda: kd.SIR(jitter=0.5),
}


class Drift(kd.AbstractDynamics):
    interval: float = 0.1

    def step(self, key, x, t):
        return x + self.interval * jnp.stack([x[1], -x[0] + 0.1 * t])


class Record(AbstractAnalysis):
    """Leave the ensemble alone; the mean is what `sample` returns for the first member."""

    def analyse(self, key, forecast, alive, y, observation, t):
        mean = observation.sample(key, forecast[0], t)
        return Outcome(forecast, mean, jnp.asarray(2.0, forecast.dtype), alive)


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


def quick(function):
    """Compile without LLVM's optimisation: most of the cost of a test of this size."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("name", ["flow", "enkf known", "sir"])
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
    # one cycle at a time, bit for bit
    state = kd.init(jax.random.key(0), members())
    for k, y in enumerate(YS):
        state, output = kd.cycle(state, *modules, analysis, jnp.asarray(y))
        expected = jax.tree.map(lambda x, k=k: x[k], (whole.saved, whole.info))
        same((keep(output), output.info), expected)
    same(state, whole.state)


@pytest.mark.parametrize("name", ["exact", "enkf sampled", "sir"])
def test_missing_component_is_as_if_never_measured(name):
    # the same random numbers: both observations draw their first component first
    analysis, key, forecast = SCHEMES[name](), jax.random.key(2), members()
    dropped, info = quick(lambda y: analysis(key, forecast, y, observe(0)))(jnp.asarray([0.8]))
    missing, info_2 = quick(lambda y: analysis(key, forecast, y, observe(0, 1)))(
        jnp.asarray([0.8, NAN])
    )
    np.testing.assert_allclose(missing, dropped, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(info_2.ess, info.ess, rtol=1e-5)
    assert np.abs(dropped - forecast).max() > 0.1


def test_missing_component_is_one_of_infinite_noise(x64):
    # EnKF draws its perturbations for all components at once, so that dropping one changes them
    key, forecast = jax.random.key(2), members("float64")

    @quick
    def call(y, std):
        return kd.EnKF(noise="known")(key, forecast, jnp.stack([0.8, y]), observe(0, 1, std=std))[0]

    missing, noisy = (
        call(jnp.asarray(NAN), jnp.asarray([0.5, 1])),
        call(3.0, jnp.asarray([0.5, 1e6])),
    )
    # gain O(1e-12) times an innovation O(1e6)
    np.testing.assert_allclose(missing, noisy, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["flow", "sde", "exact"])
def test_permuted_members_give_the_same_analysis(name, x64):
    forecast = members("float64")
    predicted, order = forecast[:, :1] ** 2, np.random.default_rng(0).permutation(N)

    @quick
    def update(forecast, predicted):
        return SCHEMES[name]().update(jax.random.key(3), forecast, predicted, jnp.asarray([0.5]))[0]

    analysis, permuted = update(forecast, predicted), update(forecast[order], predicted[order])
    # the draws depend on the mixture and on the key, not on the order of the members
    np.testing.assert_allclose(permuted, analysis, rtol=0, atol=1e-9)


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
        analysis = kde(kd.ExactMixture(), state_bandwidth=bandwidth)
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
@pytest.mark.parametrize("name", SCHEMES)
def test_dtype_is_the_ensembles_not_the_default(name, dtype, x64):
    def whole(key, ensemble, ys):
        return kd.assimilate(key, Drift(), observe(0, 1), SCHEMES[name](), ensemble, ys)

    # shapes alone: strict promotion raises while tracing
    shape = jax.eval_shape(whole, jax.random.key(0), members(dtype), jnp.asarray(YS))
    floats = [x for x in jax.tree.leaves(shape) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {x.dtype.name for x in floats} == {dtype}
    assert shape.mean.shape == (4, 2)


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


@pytest.mark.parametrize("analysis", ["exact", "enkf sampled"])
def test_black_box_observation(analysis):
    @quick
    def mean(ys):
        modules = Drift(), BlackBox(), SCHEMES[analysis]()
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
