"""The flow with its members over a mesh: the same samples on one device, two, two processes."""

import importlib.util
import sys
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

SCALING = Path(__file__).parents[2] / "benchmarks" / "speed" / "scaling.py"
ONE = jax.make_mesh((1,), ("members",), devices=jax.local_devices()[:1])
H = 0.3


def mixture(n=13, d=2):
    rng = np.random.default_rng(3)
    centres = jnp.asarray(rng.normal(size=(n, d)), jnp.float32)
    return centres, jnp.asarray(np.log(rng.dirichlet(np.ones(n))), jnp.float32)


def scaling():
    spec = importlib.util.spec_from_file_location("scaling", SCALING)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not SCALING.is_file(), reason="benchmarks come with a checkout only")
@pytest.mark.skipif(sys.platform != "linux", reason="virtual devices and gloo, tried on Linux")
def test_two_devices_and_two_processes_give_the_numbers_of_one(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # its processes compute more than they compile
    rows = scaling().compare()  # 2001 members, which two devices do not divide, for 10 cycles
    assert rows["two devices"]["devices"] == rows["two processes"]["devices"] == 2
    assert rows["two processes"]["processes"] == 2
    # the step's error norm, one number, is all that the devices exchange in the solver loop
    assert rows["two devices"]["collectives in the solver loop"] == ["f32[] all-reduce"]
    for name in ("two devices", "two processes"):
        assert rows[name]["same steps"]
        # states of size 20 and float32; ten cycles of chaos at most double a difference each
        first, *_, last = rows[name]["largest difference of mean by cycle"]
        assert first < 20 * 1e-6 and last < 2**10 * 20 * 1e-6


def test_a_mesh_of_one_device_changes_nothing(key):
    centres, log_weights = mixture()
    flow = kd.ProbabilityFlow()
    args = (key, 7, centres, log_weights, jnp.asarray(H))
    wanted, stats = jax.jit(lambda key: flow(key, *args[1:]))(key)
    sharded = kd.ShardedFlow(flow, ONE)
    got, found = jax.jit(lambda key: sharded(key, *args[1:]))(key)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert jax.tree.map(int, found) == jax.tree.map(int, stats)


@pytest.mark.parametrize(
    "controller",
    [
        diffrax.StepTo(jnp.linspace(1, 0, 13)),
        diffrax.ClipStepSizeController(kd.per_member_pid(), step_ts=jnp.asarray([0.5])),
    ],
)
def test_other_controllers(key, controller):
    centres, log_weights = mixture()
    flow = kd.ProbabilityFlow(stepsize_controller=controller)
    latents = jax.random.normal(key, (7, 2))
    wanted, _ = jax.jit(lambda z: flow.sample(z, centres, log_weights, H))(latents)
    sharded = kd.ShardedFlow(flow, ONE, axis="members")
    got, stats = jax.jit(lambda z: sharded.sample(z, centres, log_weights, H))(latents)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert bool(stats.ok)


def test_it_is_a_sampler_of_the_analysis(key):
    members, _ = mixture(20)
    obs = kd.GaussianObservation(kd.Identity(), 0.5)
    sampler = kd.ShardedFlow(kd.ProbabilityFlow(), ONE)
    analysis = kd.KDEDiffusion(state_bandwidth=0.3, obs_bandwidth=0.5, sampler=sampler)
    ensemble, info = jax.jit(lambda key: analysis(key, members, jnp.ones(2), obs))(key)
    assert bool(info.ok) and ensemble.shape == members.shape


def test_no_derivative_is_said(key):
    centres, log_weights = mixture()
    sharded = kd.ShardedFlow(kd.ProbabilityFlow(), ONE)
    latents = jax.random.normal(key, (3, 2))

    def loss(h):
        return jnp.sum(sharded.sample(latents, centres, log_weights, h)[0])

    with pytest.raises(NotImplementedError, match="no derivative"):
        jax.jit(jax.grad(loss))(jnp.asarray(H))


def test_bad_arguments():
    flow = kd.ProbabilityFlow()
    with pytest.raises(TypeError, match="flow: expected a ProbabilityFlow"):
        kd.ShardedFlow(kd.ExactMixture(), ONE)
    with pytest.raises(TypeError, match="mesh: expected"):
        kd.ShardedFlow(flow, 2)
    with pytest.raises(ValueError, match=r"axis: expected one of \('members',\)"):
        kd.ShardedFlow(flow, ONE, axis="devices")
