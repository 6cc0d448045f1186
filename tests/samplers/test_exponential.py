"""The multistep exponential integrator: quadrature weights, exact cases, order, gradients."""

from __future__ import annotations

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import kdediff_jax as kd
from kdediff_jax.samplers import DrivenTerm
from kdediff_jax.samplers.exponential import moments


def mixture(dtype, n=8, d=2, q=12):
    rng = np.random.default_rng(4)
    arrays = rng.normal(size=(q, d)), 1.5 * rng.normal(size=(n, d)), rng.dirichlet(np.ones(n))
    return tuple(jnp.asarray(a, dtype) for a in (*arrays[:2], np.log(arrays[2])))


@eqx.filter_jit
def run(flow, z, centres, log_weights, bandwidth):
    return flow.sample(z, centres, log_weights, jnp.asarray(bandwidth, centres.dtype))


def steps(number, **kwargs):
    """A flow of the solver with that many equal steps in t."""
    controller = diffrax.StepTo(ts=jnp.linspace(1, 0, number + 1))
    solver = kd.ExponentialMultistep()
    return kd.ProbabilityFlow(
        solver=solver, stepsize_controller=controller, max_steps=number, **kwargs
    )


def reference(dtype=jnp.float64, **kwargs):
    """A flow by a Runge-Kutta method of high order at a tolerance tight for the dtype."""
    wide = dtype == jnp.float64
    return kd.ProbabilityFlow(
        solver=diffrax.Dopri8() if wide else diffrax.Dopri5(),
        stepsize_controller=kd.per_member_pid(1e-10 if wide else 1e-5),
        max_steps=4096,
        **kwargs,
    )


@pytest.mark.parametrize("length", [-4.0, -0.31, -0.29, -1e-3, 0.2, 1.5])
def test_weights_are_the_integrals_they_stand_for(x64, length):
    for k, value in enumerate(moments(jnp.asarray(length))):
        wanted, _ = quad(lambda r, k=k: np.exp(length - r) * r**k, 0, length, epsabs=1e-14)
        np.testing.assert_allclose(float(value), wanted, rtol=1e-11)


def test_weights_keep_their_digits_in_float32():
    lengths = np.array([-2.0, -0.5, -0.3, -0.1, -1e-2, -1e-4], np.float32)
    with jax.enable_x64(True):
        wide = moments(jnp.asarray(lengths.astype(np.float64)))
    for single, double in zip(moments(jnp.asarray(lengths)), wide, strict=True):
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, double, rtol=2e-5)


def test_a_parabola_in_u_is_integrated_exactly(x64):
    """n = a + b u + c u^2: the corrector is exact from the second step on, whatever the steps."""
    a, b, c = 0.7, -0.4, 0.3
    term = DrivenTerm(lambda t, x, args: x + a + b * t + c * t**2, lambda t0, t1: t1 - t0)
    # dx/du = x + n has the solution p(u) + k e^u with p' = p + n
    p = np.polynomial.Polynomial([-(a + b + 2 * c), -(b + 2 * c), -c])
    solver, first, ts = kd.ExponentialMultistep(), 1e-4, (0.0, 1e-4, 0.3, 1.1, 1.7)
    exact = np.array([p(t) + (2 - p(0)) * np.exp(t) for t in ts])
    state, y = solver.init(term, ts[0], first, jnp.full((1, 1), 2.0), None), jnp.full((1, 1), 2.0)
    for t0, t1, wanted in zip(ts[:-1], ts[1:], exact[1:], strict=True):
        y, error, _, state, _ = solver.step(term, t0, t1, y, None, state, False)
        assert np.isfinite(np.asarray(error)).all()
        # the first step has one order less: its error is of order 1e-4 cubed
        np.testing.assert_allclose(float(y[0, 0]), wanted, rtol=1e-11)


@pytest.mark.parametrize("bandwidth", [0.3, (0.3, 0.5)])
@pytest.mark.parametrize("spacing", ["log", "linear"])
def test_the_flow_converges_at_third_order(x64, spacing, bandwidth):
    schedule = kd.VarianceExploding(tau_max=8.0, spacing=spacing)
    args = (*mixture(x64), jnp.asarray(bandwidth))
    exact = np.asarray(run(reference(schedule=schedule), *args)[0])
    counts = (40, 80, 160) if spacing == "log" else (160, 320, 640)
    errors = [
        np.median(np.abs(np.asarray(run(steps(k, schedule=schedule), *args)[0]) - exact))
        for k in counts
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert errors[-1] < 1e-4 and np.all((orders > 2.5) & (orders < 4)), (errors, orders)


def test_a_step_costs_one_evaluation(x64):
    """Counted, rejected steps included: one at the start and one per step."""
    calls = []
    term = DrivenTerm(lambda t, x, args: x - jnp.tanh(3 * x) * jnp.exp(-t), lambda t0, t1: t1 - t0)

    def counted(t, x, args):
        jax.debug.callback(lambda: calls.append(1))
        return term.field(t, x, args)

    found = diffrax.diffeqsolve(
        DrivenTerm(counted, term.increment),
        kd.ExponentialMultistep(),
        t0=0.0,
        t1=-6.0,
        dt0=-2.0,
        y0=jnp.linspace(-1, 1, 8)[:, None],
        stepsize_controller=kd.per_member_pid(1e-4),
        adjoint=diffrax.ForwardMode(),
    )
    jax.effects_barrier()
    taken = int(found.stats["num_steps"])
    assert int(found.stats["num_rejected_steps"]) > 0
    assert len(calls) == taken + 1


@pytest.mark.parametrize("dtype", ["float32", "float64"], indirect=True)
def test_the_default_flow_is_within_its_tolerance_of_the_exact_one(dtype):
    args = mixture(dtype, n=60, q=100)
    found, stats = run(kd.ProbabilityFlow(), *args, 0.2)
    exact, _ = run(reference(dtype), *args, 0.2)
    assert found.dtype == dtype and bool(stats.ok)
    distance = np.linalg.norm(np.asarray(found) - np.asarray(exact), axis=1) / 0.2
    assert np.median(distance) < 0.1 and np.mean(distance > 0.5) < 0.1


def test_gradients_match_finite_differences(x64):
    """Of a scalar of the samples with respect to latents, centres, weights and bandwidth."""
    z, centres, log_weights = mixture(x64)
    flow = steps(60)

    def loss(z, centres, log_weights, h):
        x, _ = flow.sample(z, centres, log_weights, h)
        return jnp.sum(jnp.sin(x)) / x.shape[0]

    args = z, centres, log_weights, jnp.asarray(0.4)
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(*args)
    value, rng = jax.jit(loss), np.random.default_rng(0)
    for place, gradient in enumerate(gradients):
        direction = jnp.asarray(rng.normal(size=jnp.shape(args[place])))
        ends = []
        for sign in (1, -1):
            moved = list(args)
            moved[place] = args[place] + sign * 1e-5 * direction
            ends.append(float(value(*moved)))
        slope = float(jnp.sum(gradient * direction))
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_a_batch_is_its_runs_one_by_one(x64):
    """Each run of a batch keeps its own steps and its own history of rejected ones."""
    z, centres, log_weights = mixture(x64)
    widths = jnp.asarray([0.1, 0.3, 0.9])
    flow = kd.ProbabilityFlow(stepsize_controller=kd.per_member_pid(1e-3))
    batch, stats = jax.jit(jax.vmap(lambda h: flow.sample(z, centres, log_weights, h)))(widths)
    for k, h in enumerate(widths):
        alone, alone_stats = run(flow, z, centres, log_weights, h)
        np.testing.assert_allclose(batch[k], alone, atol=1e-10)
        assert int(stats.num_steps[k]) == int(alone_stats.num_steps)


def test_a_first_step_against_time_is_refused():
    with pytest.raises(ValueError, match="dt0: expected a negative number"):
        kd.ProbabilityFlow(dt0=0.1)


def test_the_first_step_is_the_one_asked_for(x64):
    """Steps that may not grow: their number tells the first; a tenth if none is asked for."""
    z, centres, log_weights = mixture(x64)
    controller = kd.per_member_pid(1e9, factormax=1.0)
    for solver in (kd.ExponentialMultistep(), diffrax.Bosh3()):
        flow = kd.ProbabilityFlow(solver=solver, stepsize_controller=controller, dt0=-0.25)
        assert int(run(flow, z, centres, log_weights, 0.3)[1].num_steps) == 4
    flow = kd.ProbabilityFlow(stepsize_controller=controller)
    taken = int(run(flow, z, centres, log_weights, 0.3)[1].num_steps)
    assert taken in (10, 11)  # ten tenths may fall short of one by rounding
