"""The probability flow: closed forms, solver independence, determinism, gradients."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import ProbabilityFlow, VarianceExploding, per_member_pid
from kdediff_jax.samplers.probability_flow import per_member_norm


def mixture(dtype, n=6, d=2, q=9, seed=3):
    """Latents, centres and unequal log-weights."""
    rng = np.random.default_rng(seed)
    arrays = rng.normal(size=(q, d)), 1.5 * rng.normal(size=(n, d)), rng.dirichlet(np.ones(n))
    return tuple(jnp.asarray(a, dtype) for a in (*arrays[:2], np.log(arrays[2])))


def precise(rtol, solver=None, **kwargs):
    """A flow with an explicit solver and tolerance, whatever the defaults are."""
    return ProbabilityFlow(
        solver=solver or diffrax.Tsit5(),
        stepsize_controller=per_member_pid(rtol),
        max_steps=1024,
        **kwargs,
    )


@eqx.filter_jit
def run(flow, latents, centres, log_weights, bandwidth):
    return flow.sample(latents, centres, log_weights, jnp.asarray(bandwidth, centres.dtype))


@eqx.filter_jit
def draw(flow, key, n, centres, log_weights, bandwidth):
    return flow(key, n, centres, log_weights, bandwidth)


# --- closed forms ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "start", "spacing"),
    [
        ("float64", "prior", "log"),
        ("float64", "matched", "linear"),
        ("float32", "prior", "linear"),
        ("float32", "matched", "log"),
    ],
    indirect=["dtype"],
)
def test_one_centre_contracts_every_latent(dtype, start, spacing):
    # x - c falls from (x0 - c) = tau_max z in proportion to tau, for either start
    z, centres, _ = mixture(dtype, n=1)
    log_weights = jnp.zeros(1, dtype)
    schedule = VarianceExploding(tau_max=20.0, spacing=spacing)
    flow = precise(1e-5, schedule=schedule, start=start)
    x, stats = run(flow, z, centres, log_weights, 0.3)
    assert x.dtype == dtype and bool(stats.ok) and int(stats.num_steps) > 0
    # some 30 steps with an error of 1e-5 of |x - c| each, for |z| up to 2.1
    np.testing.assert_allclose(x, np.asarray(centres) + 0.3 * np.asarray(z), atol=1e-3 * 0.3)


@pytest.mark.parametrize("tau_max", [3.0, 30.0])
@pytest.mark.parametrize("start", ["prior", "matched"])
def test_the_prior_start_is_biased_as_predicted_and_the_matched_one_is_not(x64, start, tau_max):
    # Evenly spaced centres, weighted by a Gaussian: closer than a bandwidth they are a Gaussian
    # N(2, 0.5 + tau^2) to rounding, whose flow scales x - 2 by the ratio of standard deviations.
    # Matched latents have exact moments, so that no sampling noise remains: what differs is bias.
    centres, mean, variance, h = jnp.arange(-8, 8.01, 0.1)[:, None], 2.0, 0.5, 0.2
    log_weights = -0.5 * (centres[:, 0] - mean) ** 2 / variance
    schedule = VarianceExploding(tau_max=tau_max)
    flow = precise(1e-6, schedule=schedule, start=start, latents="stratified-matched")
    x = np.asarray(draw(flow, jax.random.key(0), 64, centres, log_weights, h)[0])
    end = np.sqrt(variance + h**2)
    shrink = end / np.sqrt(variance + tau_max**2)
    # the forecast mean (of the unweighted centres) is 0
    bias, std = (-mean * shrink, tau_max * shrink) if start == "prior" else (0, end)
    assert abs(x.mean() - mean - bias) < 1e-5
    assert abs(x.std() - std) < 1e-5
    if start == "prior":
        assert abs(bias) > (0.4 if tau_max == 3.0 else 0.04)


# --- solvers and tolerances ------------------------------------------------------------------


def test_solvers_and_clocks_agree_member_by_member(x64):
    z, centres, log_weights = mixture(x64, n=100, q=200)
    h, samples, cost = 0.1, {}, {}
    for solver, spacing in [
        (diffrax.Tsit5(), "log"),
        (diffrax.Dopri5(), "log"),
        (diffrax.Dopri8(), "log"),
        (diffrax.Tsit5(), "linear"),
    ]:
        schedule = VarianceExploding(tau_max=10.0, spacing=spacing)
        flow = precise(1e-7, solver, schedule=schedule, start="prior")
        name = f"{type(solver).__name__}-{spacing}"
        x, stats = run(flow, z, centres, log_weights, h)
        assert bool(stats.ok), name
        samples[name], cost[name] = np.asarray(x), int(stats.num_steps)
    first = samples["Tsit5-log"]
    differ = {k: int(np.sum(np.abs(x - first).max(axis=1) > 1e-4 * h)) for k, x in samples.items()}
    # members on a watershed between centres may go either way; the rest may not
    assert max(differ.values()) <= 4, f"of 200 members differ: {differ}, steps: {cost}"


def test_the_tolerance_holds_for_the_worst_member():
    error = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    error[17] *= 30
    wanted = np.sqrt((error**2).mean(axis=1)).max()
    np.testing.assert_allclose(per_member_norm(jnp.asarray(error)), wanted, rtol=1e-6)
    assert per_member_pid().norm is per_member_norm
    assert ProbabilityFlow().stepsize_controller.norm is per_member_norm
    assert per_member_pid(1e-4).atol == per_member_pid(1e-4).rtol == 1e-4


def test_too_few_steps_are_a_status_and_no_exception():
    _, stats = run(ProbabilityFlow(max_steps=1), *mixture("float32"), 0.3)
    assert not bool(stats.ok)


def test_fixed_steps_stay_on_the_device_and_near_the_adaptive_ones(key):
    """Twelve fixed steps: no step is rejected, nothing calls the host, same samples nearly."""
    centres = jax.random.normal(key, (50, 3))
    args = (jax.random.normal(jax.random.key(1), (50, 3)), centres, jnp.zeros(50), jnp.asarray(0.2))
    fixed = ProbabilityFlow(stepsize_controller=diffrax.StepTo(ts=jnp.linspace(1, 0, 13)))
    run = jax.jit(lambda *a: fixed.sample(*a))
    samples, stats = run(*args)
    assert (int(stats.num_steps), int(stats.num_rejected), bool(stats.ok)) == (12, 0, True)
    assert "callback" not in run.lower(*args).compile().as_text()
    precise = ProbabilityFlow(stepsize_controller=per_member_pid(1e-5))
    expected, _ = precise.sample(*args)
    distance = jnp.linalg.norm(samples - expected, axis=1) / 0.2
    assert float(jnp.median(distance)) < 0.05 and float(distance.max()) < 0.5


def test_constant_steps_take_dt0():
    args = mixture("float32")
    constant = ProbabilityFlow(
        solver=diffrax.Tsit5(), stepsize_controller=diffrax.ConstantStepSize(), dt0=-1 / 64
    )
    x, stats = run(constant, *args, 0.3)
    adaptive, _ = run(precise(1e-5), *args, 0.3)
    assert bool(stats.ok) and int(stats.num_steps) == 64
    # fifth order at a step of log(5 spreads / h) / 64 = 0.05; the worst member lies on a watershed
    assert np.median(np.abs(x - adaptive)) < 1e-4 and np.max(np.abs(x - adaptive)) < 1e-2


# --- determinism -----------------------------------------------------------------------------


def test_latents_determine_the_samples(x64):
    z, centres, log_weights = mixture(x64)
    flow = functools.partial(run, ProbabilityFlow())
    x, _ = flow(z, centres, log_weights, 0.3)
    again, _ = flow(z, centres, log_weights, 0.3)
    assert np.array_equal(x, again)
    # weights need no normalisation; the order of members and of latents is only an order
    shifted, _ = flow(z, centres, log_weights + 11, 0.3)
    members = np.array([3, 0, 5, 1, 4, 2])
    permuted, _ = flow(z, centres[members], log_weights[members], 0.3)
    rows = np.array([4, 8, 0, 1, 7, 2, 3, 6, 5])
    moved, _ = flow(z[rows], centres, log_weights, 0.3)
    for other, wanted in ((shifted, x), (permuted, x), (moved, x[rows])):
        np.testing.assert_allclose(other, wanted, atol=1e-11)


@pytest.mark.parametrize("start", ["prior", "matched"])
def test_a_far_origin_costs_no_digits(start):
    z, centres, log_weights = mixture("float32")
    far = centres + 1e4  # rounded once: subtracting again is exact
    flow = functools.partial(run, ProbabilityFlow(start=start))
    near, _ = flow(z, far - 1e4, log_weights, 0.3)
    x, _ = flow(z, far, log_weights, 0.3)
    # results near 1e4 are spaced by 2^-10
    np.testing.assert_allclose(x - 1e4, near, atol=3 * 2.0**-10)


@pytest.mark.parametrize("where", [1e4, 1e20])
def test_members_without_weight_do_not_matter_wherever_they_are(dtype, where):
    z, centres, log_weights = mixture(dtype)
    flow = functools.partial(run, ProbabilityFlow())
    masked = log_weights.at[2].set(-jnp.inf)
    near, _ = flow(z, centres, masked, 0.3)
    far, stats = flow(z, centres.at[2].set(where), masked, 0.3)
    assert bool(stats.ok)
    np.testing.assert_allclose(far, near, atol=1000 * jnp.finfo(dtype).eps)


# --- gradients -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_gradients_of_samples_match_finite_differences(x64, mode):
    z, centres, log_weights = mixture(x64)
    rng = np.random.default_rng(8)
    seen = jnp.asarray(rng.normal(size=z.shape))  # one weighted sum of all samples
    at = (jnp.asarray([0.3, 0.5]), centres, log_weights)  # one bandwidth per coordinate
    along = tuple(jnp.asarray(rng.normal(size=a.shape)) for a in at)
    along = (jnp.abs(along[0]), *along[1:])
    adjoint = diffrax.RecursiveCheckpointAdjoint() if mode == "reverse" else diffrax.ForwardMode()
    flow = precise(1e-9, adjoint=adjoint)

    def value(bandwidth, centres, log_weights):
        return jnp.sum(seen * flow.sample(z, centres, log_weights, bandwidth)[0])

    if mode == "reverse":
        gradient = jax.jit(jax.grad(value, (0, 1, 2)))(*at)
        parts = [float(np.vdot(g, v)) for g, v in zip(gradient, along, strict=True)]
    else:
        tangent = jax.jit(lambda *v: jax.jvp(value, at, v)[1])
        zero = tuple(map(jnp.zeros_like, along))
        parts = [float(tangent(*zero[:i], along[i], *zero[i + 1 :])) for i in range(3)]
    step, plain = 1e-5, jax.jit(value)
    for i, part in enumerate(parts):
        up, down = (plain(*at[:i], at[i] + s * step * along[i], *at[i + 1 :]) for s in (1, -1))
        # truncation step^2; the solver's 1e-9 is common to both sides, its change is far smaller
        np.testing.assert_allclose(part, (up - down) / (2 * step), rtol=1e-6, atol=1e-6)


def test_gradients_stay_finite_where_weights_vanish(x64):
    z, centres, log_weights = mixture(x64)

    @jax.jit
    def gradients(*args):
        return jax.grad(lambda h, c, b: jnp.sum(run(ProbabilityFlow(), z, c, b, h)[0]), (0, 1, 2))(
            *args
        )

    for kept in (5, 1):  # one member masked; all weight on one member
        weights = jnp.where(jnp.arange(6) < kept, log_weights, -jnp.inf)
        for gradient in gradients(jnp.asarray(0.3), centres, weights):
            assert np.isfinite(gradient).all()
            assert np.all(np.atleast_1d(gradient)[kept:] == 0)
