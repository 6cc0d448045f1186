"""`kd.tune`: gradients through a whole run, minima, steps into nothing."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kdediff_jax as kd


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
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
