"""Members that fail on the host: masked, counted, said; and faults of the simulator itself."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter

import host_lorenz63 as numpy_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

N, CYCLES = 40, 40
OBSERVATION = kd.GaussianObservation(kd.Identity(), 1.0)


def faultless(rng, x, t, interval):
    return numpy_model.integrate(x, interval)


def twin(cycles=CYCLES):
    truth, ys = kd.twin_experiment(
        jax.random.key(0), kd.Lorenz63(interval=0.1), OBSERVATION, jnp.array([1.0, 3.0, 20.0]),
        cycles,
    )  # fmt: skip
    members = np.array([1.0, 3.0, 20.0]) + np.random.default_rng(0).normal(size=(N, 3))
    return np.asarray(truth), ys, jnp.asarray(members, "float32")


def run(simulator, members, ys, analysis=None, **options):
    analysis = kd.EnKF(inflation=1.02) if analysis is None else analysis
    dynamics = kd.HostDynamics(simulator, 0.1)
    arguments = dynamics, OBSERVATION, analysis, members, ys
    return kd.assimilate(jax.random.key(1), *arguments, **options)


def rmse(result, truth):
    return np.sqrt(np.mean((np.asarray(result.mean) - truth)[10:] ** 2))


def test_a_numpy_model_with_faults_is_nearly_as_good_as_a_sound_one(caplog):
    truth, ys, members = twin()
    clean = run(kd.MemberSimulator(faultless), members, ys)
    with caplog.at_level(logging.WARNING, logger="kdediff_jax"):
        result = run(kd.MemberSimulator(numpy_model.faulty_step), members, ys)
    assert np.asarray(result.info.ok).all()
    masked = np.asarray(result.info.num_masked)
    # five in a hundred, and each of them is accounted for
    assert abs(masked.sum() - 0.05 * N * CYCLES) < 4 * (0.05 * N * CYCLES) ** 0.5
    counts = Counter(failure.cycle for failure in result.failures)
    np.testing.assert_array_equal([counts[k] for k in range(CYCLES)], masked)
    assert sum("members failed" in r.getMessage() for r in caplog.records) == len(counts)
    reasons = {failure.reason.partition(":")[0] for failure in result.failures}
    assert {"RuntimeError", "TimeoutError", "it returned values that are not finite"} < reasons
    assert any("far_member" in reason for reason in reasons)  # 1e30
    assert rmse(result, truth) < 1.2 * rmse(clean, truth)
    print(rmse(clean, truth), rmse(result, truth))


def test_failed_measurements_are_counted(x64):
    """An exception, NaN and 1e30 in what members measure."""
    _, ys, members = twin(3)

    def measure(rng, x, t):
        if abs(x[0] - members[3, 0]) < 1e-12:
            raise OSError("no licence")
        bad = {5: np.nan, 7: 1e30}
        for row, value in bad.items():
            if abs(x[0] - members[row, 0]) < 1e-12:
                return np.full(3, value)
        return x + rng.normal(size=3)

    ys, members = jnp.asarray(ys), jnp.asarray(members, "float64")
    mixture = kd.KDEDiffusion(1.0, 2.0, sampler=kd.ExactMixture())
    for analysis in (kd.EnKF(), kd.EnKF(noise="pairs"), mixture):
        state = kd.init(jax.random.key(0), members)
        still = kd.HostDynamics(lambda rng, X, t, interval: X, 1.0)
        observation = kd.HostObservation(kd.MemberSimulator(measure))
        _, output = kd.cycle(state, still, observation, analysis, ys[0])
        assert [failure.member for failure in output.failures] == [3, 5, 7]
        assert {failure.source for failure in output.failures} == {"observation"}
        assert output.failures[0].reason == "OSError: no licence"
        assert output.info.num_masked == 3 and output.info.ok
        assert np.isfinite(output.analysis).all()


def test_two_survivors_go_on_and_none_start_again_from_the_reserve():
    _, ys, members = twin(4)

    def step(survivors):
        def call(rng, X, t, interval):
            X = numpy_model.integrate(X, interval)
            if t > 0.05:
                X[survivors:] = np.nan
            return X

        return call

    result = run(step(2), members, ys)
    np.testing.assert_array_equal(result.info.num_masked, [0, N - 2, N - 2, N - 2])
    assert np.isfinite(result.ensemble).all()
    result = run(step(0), members, ys)
    np.testing.assert_array_equal(result.info.ok, [True, False, False, False])
    assert np.isfinite(result.ensemble).all() and len(result.failures) == 3 * N


def test_an_ensemble_of_nan_is_a_failed_cycle():
    run = kd.assimilate(
        jax.random.key(0), HOST, MEASURED, kd.EnKF(), np.full((4, 3), np.nan), np.ones((1, 1))
    )
    with pytest.raises(RuntimeError, match="4 of 4 members were left out"):
        run.raise_if_failed()


def test_an_exception_in_every_member_of_the_first_cycle_is_the_users():
    _, ys, members = twin(2)

    def misspelt(rng, x, t, interval):
        return x.copi()

    for simulator in (misspelt, kd.MemberSimulator(misspelt)):
        with pytest.raises(AttributeError, match="has no attribute 'copi'") as caught:
            run(simulator, members, ys)
        called, ended = caught.value.__notes__
        assert "dynamics of each of 40 members in cycle 0" in ended
        assert re.search(
            r"as function\(rng, [Xx], t, interval\) with [Xx] \((n, )?d,?\) = ", called
        )
        frames = [entry.name for entry in caught.traceback]
        assert "misspelt" in frames


def later(rng, X, t, interval):
    if t > 0.05:
        raise FloatingPointError("diverged")
    return X + 0.0


def test_an_exception_in_every_member_later_is_a_failed_cycle():
    _, ys, members = twin(2)
    result = run(later, members, ys)
    np.testing.assert_array_equal(result.info.ok, [True, False])
    assert result.failures[0] == kd.Failure(1, 0, "dynamics", "FloatingPointError: diverged")


def test_a_process_that_dies_is_one_failed_member():
    pytest.importorskip("joblib")
    _, ys, members = twin(1)
    limit = float(np.sort(members[:12, 0])[-2])

    def step(rng, x, t, interval):
        if x[0] >= limit:
            os._exit(3)
        return numpy_model.integrate(x, interval)

    result = run(kd.MemberSimulator(step, workers=2, processes=True), members[:12], ys)
    # two of twelve die; those that were with them in the pool are none the worse
    died = np.flatnonzero(np.asarray(members[:12, 0]) >= limit)
    assert [failure.member for failure in result.failures] == died.tolist()
    assert int(result.info.num_masked.sum()) == 2 and result.info.ok.all()


BAD = {
    "shape": (lambda X: X[:, :2], ValueError, r"return shape \(40, 3\), got \(40, 2\)"),
    "vector": (lambda X: X[0], ValueError, r"return shape \(40, 3\), got \(3,\)"),
    "nothing": (lambda X: None, TypeError, "got None: does the function end with `return`"),
    "a pair": (lambda X: (X, 1.0), TypeError, "in one array, got a tuple of unlike parts"),
    "a column": (
        lambda X: X[:, 0],
        ValueError,
        r"a vector, also of one component \(`X\[\.\.\., :1",
    ),
    "text": (lambda X: X.astype(str), TypeError, "real numbers, got dtype <U"),
    "complex": (lambda X: X + 1j, TypeError, "real numbers, got dtype complex"),
    "bool": (lambda X: X > 0, TypeError, "real numbers, got dtype bool"),
}


def test_a_list_of_rows_is_an_array():
    _, ys, members = twin(1)
    listed = run(lambda rng, X, t, interval: [list(row) for row in X], members, ys)
    np.testing.assert_array_equal(listed.mean, run(lambda *a: a[1], members, ys).mean)


@pytest.mark.parametrize("name", BAD)
def test_bad_answers(name):
    function, kind, text = BAD[name]
    _, ys, members = twin(1)
    with pytest.raises(kind, match=text):
        run(lambda rng, X, t, interval: function(X), members, ys)


def test_bad_answers_of_one_member():
    _, ys, members = twin(1)
    one = kd.MemberSimulator(lambda rng, x, t, interval: x[:2])
    with pytest.raises(ValueError, match=r"return shape \(3,\), got \(2,\)"):
        run(one, members, ys)
    number = kd.MemberSimulator(lambda rng, x, t, interval: 1.0)
    with pytest.raises(ValueError, match=r"return shape \(3,\), got \(\)"):
        run(number, members, ys)
    short = kd.HostObservation(lambda rng, X, t: X[:, :2])
    model = kd.Lorenz63(interval=0.1)
    with pytest.raises(ValueError, match=r"return shape \(320, 3\), got \(320, 2\)"):
        kd.assimilate(jax.random.key(0), model, short, kd.EnKF(), members, ys)


HOST = kd.HostDynamics(faultless, 0.1)
MEASURED = kd.HostObservation(numpy_model.noisy_z)


def go(dynamics=HOST, observation=OBSERVATION, analysis=None, ys=(2, 3), **options):
    analysis = kd.EnKF() if analysis is None else analysis
    ensemble = jnp.ones((4, 3)) + jnp.arange(4.0)[:, None]
    arguments = dynamics, observation, analysis, ensemble, jnp.zeros(ys)
    return kd.assimilate(jax.random.key(0), *arguments, **options)


def given(key=None, dynamics=HOST, observation=OBSERVATION):
    key = jax.random.key(0) if key is None else key
    ensemble, ys = jnp.ones((4, 3)), jnp.zeros((2, 3))
    return kd.assimilate(key, dynamics, observation, kd.EnKF(), ensemble, ys)


REFUSED = {
    "a plain function": (lambda: given(dynamics=faultless), TypeError,
                         r"with `step`, got <function .*by `kd.HostDynamics\(function, interval"),
    "a plain measurement": (lambda: given(observation=numpy_model.noisy_z), TypeError,
                            r"with `sample`, got .* by `kd.HostObservation\(function"),
    "a simulator alone": (lambda: given(dynamics=kd.MemberSimulator(faultless)), TypeError,
                          "becomes one by `kd.HostDynamics"),
    "a seed": (lambda: given(key=3), TypeError, r"key: expected a random key, .*, got 3"),
    "NumPy's random numbers": (lambda: given(key=np.random.default_rng(0)), TypeError,
                               "key: expected a random key, .*, got Generator"),
    "jit": (lambda: jax.jit(lambda: go())(), TypeError, "HostDynamics lives on the host|lives on"),
    "traced": (
        lambda: jax.vmap(
            lambda x: kd.assimilate(
                jax.random.key(0), HOST, OBSERVATION, kd.EnKF(), x, jnp.zeros((2, 3))
            ).mean
        )(jnp.ones((2, 4, 3))),
        TypeError, "lives on the host",
    ),
    "sweep": (
        lambda: kd.sweep(
            lambda point: {"x": kd.assimilate(
                jax.random.key(0), HOST, OBSERVATION, kd.EnKF(), jnp.ones((4, 3)) * point["a"],
                jnp.zeros((2, 3)),
            ).mean},
            {"a": [1.0, 2.0]},
        ),
        TypeError, "lives on the host",
    ),
    "operator called": (
        lambda: kd.HostOperator(numpy_model.z_of)(jnp.ones(3)), TypeError, "HostOperator lives on",
    ),
    "called": (
        lambda: kd.EnKF()(jax.random.key(0), jnp.ones((4, 3)), jnp.ones(1), MEASURED),
        TypeError, "HostObservation lives on the host",
    ),
    "sir": (lambda: go(observation=MEASURED, analysis=kd.SIR(), ys=(2, 1)), TypeError,
            "SIR expected one with `log_likelihood`"),
    "known": (lambda: go(observation=MEASURED, analysis=kd.EnKF(noise="known"), ys=(2, 1)),
              TypeError, "got HostObservation"),
    "no function": (lambda: kd.HostDynamics(3.0, 0.1), TypeError, "function: .* got 3.0"),
    "a class": (lambda: kd.ArraySimulator(np.ndarray), TypeError, "function"),
    "interval": (lambda: kd.HostDynamics(faultless, 0.0), ValueError, "interval"),
    "workers": (lambda: kd.MemberSimulator(faultless, workers=0), ValueError, "workers"),
    "no rows": (lambda: go(ys=(0, 3)), ValueError, "ys: expected at least one row"),
    "progress": (lambda: go(progress=3.0), TypeError, "progress: expected True or a function"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, kind, text = REFUSED[name]
    with pytest.raises(kind, match=text):
        call()


def test_progress():
    seen = []
    go(dynamics=kd.HostDynamics(numpy_model.step, 0.1), progress=lambda *each: seen.append(each))
    assert seen == [(1, 2), (2, 2)]


def test_progress_in_a_pipe_is_a_line(capsys):
    go(dynamics=kd.HostDynamics(numpy_model.step, 0.1), progress=True)
    assert "2/2 cycles" in capsys.readouterr().err


def test_output_times_need_no_measurement():
    calls = []

    def measure(rng, X, t):
        calls.append(t)
        return X[:, :1] + rng.normal(size=(len(X), 1))

    ys = jnp.asarray([[0.5], [np.nan], [0.5]])
    members = jnp.asarray(np.random.default_rng(0).normal(size=(12, 3)), "float32")
    for analysis in (kd.EnKF(), kd.KDEDiffusion(1.0, 2.0, sampler=kd.ExactMixture())):
        calls.clear()
        arguments = kd.RandomWalk(), kd.HostObservation(measure), analysis, members, ys
        result = kd.assimilate(jax.random.key(0), *arguments, save=kd.save_ensembles)
        assert calls == [1.0, 3.0]
        np.testing.assert_array_equal(result.info.num_masked, 0)
        result.raise_if_failed()
