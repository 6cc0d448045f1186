"""Bandwidths that choose themselves, and `kd.tune`: oracles, limits, gradients, bad input."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kdediff_jax as kd
from kdediff_jax.bandwidths import silverman
from kdediff_jax.leave_one_out import conditional_leave_one_out, leave_one_out


def loo_by_hand(x, h):
    n, d = x.shape
    total = 0.0
    for i in range(n):
        others = np.delete(x, i, axis=0)
        squares = (((x[i] - others) / h) ** 2).sum(axis=1)
        total += np.log(np.exp(-0.5 * squares).sum() / (n - 1) / (2 * np.pi * h**2) ** (d / 2))
    return total / n


@pytest.mark.parametrize("h", [0.3, 1.0, 3.0])
def test_leave_one_out_is_the_double_loop(x64, key, h):
    x = jax.random.normal(key, (25, 3), jnp.float64)
    got = jax.jit(leave_one_out)(x, jnp.asarray(h))
    np.testing.assert_allclose(got, loo_by_hand(np.asarray(x), h), rtol=1e-10)


def test_rule_finds_the_best_factor(x64, key):
    x = jax.random.normal(key, (60, 2), jnp.float64) * jnp.array([[1.0, 5.0]])
    h = eqx.filter_jit(kd.LeaveOneOut(evaluations=20))(x)
    factors = np.linspace(0.1, 2.0, 96)
    z = (x - x.mean(0)[None]) / (silverman(60, 2) * jnp.std(x, axis=0, ddof=1))[None]
    values = [float(leave_one_out(z, jnp.asarray(f))) for f in factors]
    best = factors[int(np.argmax(values))]
    np.testing.assert_allclose(h, best * kd.Silverman()(x), rtol=0.03)


def conditional_by_hand(x, y, h_x, h_y):
    n, d = x.shape
    total = 0.0
    for i in range(n):
        near = np.exp(-0.5 * ((y[i] - np.delete(y, i, axis=0)) ** 2).sum(1) / h_y**2)
        kernel = np.exp(-0.5 * ((x[i] - np.delete(x, i, axis=0)) ** 2).sum(1) / h_x**2)
        total += np.log((near * kernel).sum() / near.sum() / (2 * np.pi * h_x**2) ** (d / 2))
    return total / n


@pytest.mark.parametrize(("h_x", "h_y"), [(0.3, 0.5), (1.0, 2.0), (3.0, 0.4)])
def test_conditional_leave_one_out_is_the_double_loop(x64, key, h_x, h_y):
    x = jax.random.normal(key, (25, 3), jnp.float64)
    y = x[:, :2] + 0.3
    widths = jnp.asarray(h_x), jnp.asarray(h_y)
    got = jax.jit(conditional_leave_one_out)(x, y, *widths)
    np.testing.assert_allclose(
        got, conditional_by_hand(np.asarray(x), np.asarray(y), h_x, h_y), rtol=1e-10
    )


def test_conditional_rule_is_near_the_best_pair(x64, key):
    """Measured precisely, the state wants a narrow kernel; the rule is no worse than a grid."""
    x = 10 * jax.random.normal(key, (150, 1), jnp.float64)
    y = x + 0.5 * jax.random.normal(jax.random.key(1), (150, 1), jnp.float64)
    h_x, h_y = eqx.filter_jit(kd.ConditionalLeaveOneOut())(x, y)
    found = conditional_leave_one_out(x, y, h_x, h_y)
    shape_x, shape_y = (silverman(150, 2) * jnp.std(v, ddof=1) for v in (x, y))
    factors = np.geomspace(0.1, 4.0, 12)
    score = jax.jit(conditional_leave_one_out)
    best = max(float(score(x, y, a * shape_x, b * shape_y)) for a in factors for b in factors)
    assert float(found) > best - 0.04
    assert h_x[0] < 0.5 * shape_x


def test_conditional_rule_sets_both_bandwidths(key):
    x = jax.random.normal(key, (40, 3))
    predicted = x[:, :2] + 0.1
    y = jnp.array([0.2, jnp.nan])
    rule = kd.ConditionalLeaveOneOut()
    out, info = eqx.filter_jit(kd.KDEDiffusion(state_bandwidth=rule).update)(key, x, predicted, y)
    h_x, h_y = rule(x, predicted)
    fixed = kd.KDEDiffusion(state_bandwidth=h_x, obs_bandwidth=h_y)
    expected, _ = eqx.filter_jit(fixed.update)(key, x, predicted, y)
    assert info.ok
    np.testing.assert_allclose(out, expected, rtol=2e-4, atol=2e-4)


def test_two_modes_want_a_narrower_kernel(key):
    x = jax.random.normal(key, (200, 1))
    apart = x + jnp.where(jnp.arange(200)[:, None] < 100, -20.0, 20.0)
    rule = eqx.filter_jit(kd.LeaveOneOut())
    assert rule(x)[0] > 0.5 * kd.Silverman()(x)[0]
    # Silverman's width follows the distance between the modes, the likelihood their own width
    assert rule(apart)[0] < 0.25 * kd.Silverman()(apart)[0]


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_target_ess_is_met(key, fraction):
    predicted = jax.random.normal(key, (300, 2))
    y = jnp.array([1.0, 0.5])
    h = eqx.filter_jit(kd.TargetESS(fraction))(predicted, y)
    ess = kd.kde.effective_sample_size(kd.kde.log_weights(y, predicted, h))
    np.testing.assert_allclose(ess, fraction * 300, rtol=0.01)


def test_target_ess_does_not_sharpen_a_weak_measurement(key):
    predicted = jnp.ones((50, 1)) + 1e-3 * jax.random.normal(key, (50, 1))
    h = kd.TargetESS(0.1, smallest=1.0)(predicted, jnp.array([1.0]))
    np.testing.assert_allclose(h, jnp.std(predicted, ddof=1), rtol=1e-4)


def test_rules_run_inside_the_filter(key):
    experiment = kd.Lorenz63(interval=0.1, substeps=10)
    observation = kd.GaussianObservation(kd.Select((2,)), 2.0)
    scheme = kd.KDEDiffusion(state_bandwidth=kd.LeaveOneOut(), obs_bandwidth=kd.TargetESS(0.5))
    truth, ys = kd.twin_experiment(key, experiment, observation, jnp.ones(3), 20)
    ensemble = jax.random.normal(key, (40, 3))
    result = kd.assimilate(key, experiment, observation, scheme, ensemble, ys).raise_if_failed()
    np.testing.assert_allclose(result.info.ess, 20.0, rtol=0.1)
    assert truth.shape == result.mean.shape


def forecast_loss(params, key, adjoint):
    """Energy score of the next measurement under the forecast: no truth needed."""
    dynamics = kd.LinearGaussian(jnp.array([[0.9, 0.2], [-0.2, 0.9]]), 0.3)
    observation = kd.GaussianObservation(kd.Select((0,)), 0.5)
    _, ys = kd.twin_experiment(jax.random.key(1), dynamics, observation, jnp.ones(2), 12)
    sampler = kd.ProbabilityFlow(adjoint=adjoint, stepsize_controller=kd.per_member_pid(1e-6))
    scheme = kd.KDEDiffusion(**params, sampler=sampler)
    ensemble = jax.random.normal(jax.random.key(2), (30, 2))
    run = kd.assimilate(key, dynamics, observation, scheme, ensemble, ys, save=kept_forecast)
    predicted = run.saved[:, :, :1]
    return jnp.mean(kd.metrics.energy_score(predicted, ys))


def kept_forecast(output):
    return output.forecast


START = {"state_bandwidth": 1.5, "obs_bandwidth": 4.0}


def test_gradient_through_the_whole_run_is_the_finite_difference(x64):
    loss = eqx.filter_jit(
        lambda p: forecast_loss(p, jax.random.key(5), diffrax.RecursiveCheckpointAdjoint())
    )
    params = jax.tree.map(jnp.asarray, START)
    gradient = eqx.filter_jit(jax.grad(loss))(params)
    for name in params:
        step = 1e-4
        up, down = ({**params, name: params[name] + s * step} for s in (1, -1))
        expected = (loss(up) - loss(down)) / (2 * step)
        np.testing.assert_allclose(gradient[name], expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "adjoint"),
    [("reverse", diffrax.RecursiveCheckpointAdjoint()), ("forward", diffrax.ForwardMode())],
)
def test_tune_lowers_the_score_of_unseen_measurements(mode, adjoint):
    found = kd.tune(
        lambda p: forecast_loss(p, jax.random.key(5), adjoint), START, steps=12, mode=mode,
        optimizer=optax.adam(0.2),
    )  # fmt: skip
    assert found.losses.shape == (12,)
    assert found.loss < found.losses[0] - 0.01
    assert found.params["obs_bandwidth"] < START["obs_bandwidth"]
    np.testing.assert_allclose(found.history["state_bandwidth"][0], 1.5, rtol=1e-6)


def test_tune_finds_the_minimum_of_a_bowl(key):
    def bowl(params, key):
        noise = 1e-3 * jax.random.normal(key)
        return jnp.log(params["a"] / 3) ** 2 + jnp.sum(jnp.log(params["b"]) ** 2) + noise

    found = kd.tune(bowl, {"a": 1.0, "b": jnp.array([0.5, 2.0])}, steps=150, key=key)
    np.testing.assert_allclose(found.params["a"], 3, rtol=0.05)
    np.testing.assert_allclose(found.params["b"], 1, rtol=0.05)


def test_a_step_into_nothing_is_not_taken():
    def cliff(params):
        return jnp.where(params["a"] > 1.5, jnp.nan, -params["a"])

    found = kd.tune(cliff, {"a": 1.0}, steps=30)
    assert np.isfinite(found.loss) and 1.2 < found.params["a"] <= 1.5


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kd.tune(jnp.sum, {"a": -1.0}), ValueError, r"init\['a'\]: expected positive"),
        (lambda: kd.tune(jnp.sum, {"a": 1}), TypeError, r"init\['a'\]"),
        (lambda: kd.tune(3, {"a": 1.0}), TypeError, "loss"),
        (lambda: kd.tune(jnp.sum, {"a": 1.0}, mode="revrse"), ValueError, "did you mean 'rev"),
        (lambda: kd.TargetESS(1.5), ValueError, "fraction"),
        (lambda: kd.LeaveOneOut(smallest=0.0), ValueError, "smallest"),
        (lambda: kd.ConditionalLeaveOneOut(rounds=0), ValueError, "rounds"),
        (
            lambda: kd.KDEDiffusion(state_bandwidth=kd.ConditionalLeaveOneOut(), obs_bandwidth=1.0),
            ValueError,
            "obs_bandwidth: expected None with ConditionalLeaveOneOut",
        ),
        (lambda: kd.LeaveOneOut(evaluations=1), ValueError, "evaluations"),
        (
            lambda: kd.KDEDiffusion(state_bandwidth=kd.TargetESS(), obs_bandwidth=1.0),
            TypeError,
            "state_bandwidth",
        ),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
