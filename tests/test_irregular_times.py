"""Irregular measurement times: against SciPy, against a loop by hand, in chunks and online."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import kdediff_jax as kd
from kdediff_jax import clock

N, NAN = 12, float("nan")
TIMES = np.array([0.03, 0.1, 0.35, 0.36, 0.9])


def lorenz63(t, x):
    return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]


def save(output):
    return output.forecast, output.analysis, output.t, output.elapsed


def members():
    return jnp.asarray([[1.5, -1.5, 25.0]]) + jax.random.normal(jax.random.key(1), (N, 3))


def observe(*indices, std=0.5):
    return kd.GaussianObservation(kd.Select(indices), std)


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


def test_output_times_are_the_solution_of_the_equations(x64):
    t0 = 1.7e9
    model, ensemble = kd.Lorenz63(interval=0.01, substeps=2), members()
    result = kd.assimilate(
        jax.random.key(0), model, observe(2), kd.EnKF(), ensemble, jnp.full((5, 1), NAN),
        t0=t0, times=t0 + TIMES, save=save,
    )  # fmt: skip
    forecast, analysis, t, elapsed = result.saved
    np.testing.assert_array_equal(forecast, analysis)  # nothing is measured
    np.testing.assert_allclose(elapsed, TIMES, atol=1e-6)  # float64 knows 1.7e9 to 2e-7
    np.testing.assert_allclose(t, t0 + TIMES)
    for i in range(3):
        exact = solve_ivp(
            lorenz63, (0, 1), ensemble[i], t_eval=TIMES, rtol=1e-11, atol=1e-11, method="DOP853"
        )
        np.testing.assert_allclose(forecast[:, i], exact.y.T, atol=1e-4)


SCHEMES = {"enkf": kd.EnKF, "sir": lambda: kd.SIR(jitter=0.5)}


@pytest.mark.parametrize("name", SCHEMES)
def test_chunks_and_online_cycles_repeat_the_run(name):
    t0 = 1.7e9
    modules = kd.Lorenz63(interval=0.05, noise_std=0.1), observe(0, 2), SCHEMES[name]()
    ys = jnp.asarray([[1.0, NAN], [0.0, 25.0], [NAN, NAN], [2.0, 20.0], [NAN, 22.0]])
    times, key = t0 + np.array([0.25, 0.5, 0.625, 1.0, 3.0]), jax.random.key(0)
    options = {"t0": t0, "origin": t0}
    whole = kd.assimilate(key, *modules, members(), ys, times=times, save=save, **options)
    np.testing.assert_array_equal(whole.saved[2], times - t0)
    state = kd.init(key, members(), **options)
    first = kd.resume(state, *modules, ys[:3], times=times[:3], save=save)
    second = kd.resume(first.state, *modules, ys[3:], times=times[3:], save=save)
    chunks = [(r.saved, r.info) for r in (first, second)]
    same(jax.tree.map(lambda *x: np.concatenate(x), *chunks), (whole.saved, whole.info))
    same(second.state, whole.state)
    for k, y in enumerate(ys):
        online, output = kd.cycle(state, *modules, y, t=times[k])
        one = slice(k, k + 1)  # from the run's own state: the model lets roundings grow
        state = kd.resume(state, *modules, ys[one], times=times[one], save=save).state
        expected = jax.tree.map(lambda x, k=k: x[k], (whole.saved, whole.info))
        for a, b in zip(
            jax.tree.leaves((save(output), output.info)), jax.tree.leaves(expected), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)  # another program's roundings
    same(state, whole.state)
    assert online.elapsed == whole.state.elapsed == 3.0


def test_two_sets_on_one_axis_are_a_loop_by_hand(x64):
    """Each set by an observation of its own, in the order of time, and the model in between."""
    model, scheme, key = kd.Lorenz63(interval=0.02), kd.ETKF(), jax.random.key(0)
    sets = [(np.array([0.1, 0.3]), np.array([[1.0], [2.0]]), 0)]
    sets += [(np.array([0.05, 0.3, 0.45]), np.array([[24.0], [22.0], [25.0]]), 2)]
    times, ys, columns = kd.merge_series(*((t, y) for t, y, _ in sets), outputs=[0.2])
    assert columns == [slice(0, 1), slice(1, 2)] and times.size == 5
    result = kd.assimilate(
        key, model, observe(0, 2), scheme, members(), jnp.asarray(ys), times=times, save=save
    )
    ensemble, now, found = members(), 0.0, []
    for t in times:
        steps = int(np.ceil((t - now) / 0.02 * (1 - 1e-9)))
        for _ in range(steps):
            each = (t - now) / steps
            ensemble = jax.vmap(lambda x, h=each: model.step(key, x, 0.0, interval=h))(ensemble)
        here = [(y[np.argmax(ts == t)], i) for ts, y, i in sets if (ts == t).any()]
        if here:
            y, where = np.concatenate([y for y, _ in here]), tuple(i for _, i in here)
            ensemble, _ = scheme(key, ensemble, jnp.asarray(y), observe(*where))
        found.append(ensemble)
        now = t
    np.testing.assert_allclose(result.saved[1], found, rtol=1e-8, atol=1e-8)


def test_noise_adds_up_to_that_of_the_time_covered():
    """A random walk of variance 0.25 a unit of time, whatever the steps: Var x(t) = 0.25 t."""
    times, n = np.array([0.3, 1.0, 4.5, 4.6]), 2000
    result = kd.assimilate(
        jax.random.key(0), kd.RandomWalk(noise_std=0.5), observe(0), kd.EnKF(),
        jnp.zeros((n, 1)), jnp.full((4, 1), NAN), times=times, save=save,
    )  # fmt: skip
    variance = np.var(result.saved[0][:, :, 0], axis=1)
    np.testing.assert_allclose(variance / (0.25 * times), 1, atol=5 * np.sqrt(2 / n))
    truth = jax.vmap(
        lambda key: kd.twin_experiment(
            key, kd.RandomWalk(noise_std=0.5), observe(0, std=1.0), jnp.zeros(1), times=times
        )
    )(jax.random.split(jax.random.key(5), n))
    x, y = (np.asarray(each)[..., 0] for each in truth)
    np.testing.assert_allclose(np.var(x, axis=0) / (0.25 * times), 1, atol=5 * np.sqrt(2 / n))
    np.testing.assert_allclose(np.var(y - x, axis=0), 1, atol=5 * np.sqrt(2 / n))


class Season(kd.AbstractDynamics):
    """dx/dt = t, by the midpoint rule, which is exact."""

    interval: float = 1.0

    def step(self, key, x, t, interval=None):
        h = self.interval if interval is None else interval
        return x + h * (t + h / 2)


class Counter(kd.AbstractDynamics):
    """It has no argument `interval`: whole intervals only."""

    interval: float = 0.5

    def step(self, key, x, t):
        return jnp.stack([x[0] + 1, t])


def test_own_models_with_and_without_an_interval():
    times = np.array([0.5, 2.0, 2.25, 7.0])

    def run(model, times):
        ys = jnp.full((len(times), 1), NAN)
        start = jnp.zeros((4, 2))
        arguments = model, observe(0), kd.EnKF(), start, ys
        return kd.assimilate(jax.random.key(0), *arguments, times=times, save=save).saved[0][:, 0]

    np.testing.assert_allclose(run(Season(), times)[:, 0], times**2 / 2, rtol=1e-6)
    # four, then one, then fifteen steps of 0.5; the last one starts 0.5 earlier
    counted = run(Counter(), [2.0, 2.5, 10.0])
    np.testing.assert_array_equal(counted, [[4, 1.5], [5, 2.0], [20, 9.5]])
    with pytest.raises(ValueError, match=r"times: expected whole multiples .* 0.25 before row 2"):
        run(Counter(), times)


@pytest.mark.parametrize("wrong", [[1.0, 1.0], [1.0]])
def test_wrong_times_are_named(wrong):
    arguments = kd.RandomWalk(), observe(0), kd.EnKF(), members(), jnp.zeros((2, 1))
    with pytest.raises(ValueError, match=r"^times: expected"):
        kd.assimilate(jax.random.key(0), *arguments, times=wrong)
    with pytest.raises(ValueError, match=r"^times: .*the first after 0, got 0 in row 0"):
        kd.cycle(kd.init(jax.random.key(0), members()), *arguments[:3], jnp.zeros(1), t=0.0)


def test_gradient_goes_through_the_steps(x64):
    def loss(rho):
        model = kd.Lorenz63(rho=rho, interval=0.05)
        ys = jnp.asarray([[24.0], [NAN], [23.0]])
        return kd.assimilate(
            jax.random.key(0), model, observe(2), kd.ETKF(), members(), ys, times=[0.02, 0.1, 0.23]
        ).mean[-1, 0]

    found = jax.jit(jax.grad(loss))(28.0)
    run = jax.jit(loss)
    expected = (run(28.0 + 1e-5) - run(28.0 - 1e-5)) / 2e-5
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_other_times_are_the_same_program():
    traces = []

    class Counted(Season):
        def step(self, key, x, t, interval=None):
            traces.append(None)
            return super().step(key, x, t, interval)

    def mean(times):
        arguments = Counted(), observe(0), kd.EnKF(), members(), jnp.full((3, 1), NAN)
        return kd.assimilate(jax.random.key(0), *arguments, times=times).mean

    first = mean([1.0, 2.0, 5.0])
    count = len(traces)
    assert np.abs(mean([0.5, 0.7, 4.6]) - first).max() > 1
    assert len(traces) == count


def test_times_under_jit_and_vmap():
    """Times that are traced give the same numbers; under `vmap` each run may have its own."""
    arguments = kd.Lorenz63(interval=0.05), observe(0), kd.EnKF(), members()
    times, ys = np.array([[0.1, 0.25], [0.05, 0.4]]), jnp.asarray([[1.0], [2.0]])

    def run(times):
        return kd.assimilate(jax.random.key(0), *arguments, ys, times=times).mean

    batched = jax.jit(jax.vmap(run))(jnp.asarray(times, "float32"))
    for row, each in zip(batched, times, strict=True):
        np.testing.assert_allclose(row, run(each), rtol=1e-4, atol=1e-4)


def test_dates_without_t0_are_warned_of():
    dates = np.arange("2020-01-02", "2020-01-04", dtype="datetime64[D]")
    start = kd.init(jax.random.key(0), members())
    with pytest.warns(UserWarning, match=r"times: row 0 is 1.58e\+09 intervals .*is `t0` missing"):
        clock.schedule(start.clock, dates, 1.0, False)
