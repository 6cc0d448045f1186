"""Leave-one-out bandwidths against double loops, and where they must be narrow."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
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
    h_x, h_y = eqx.filter_jit(kd.ConditionalLeaveOneOut())(x, y, y[0])
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
    h_x, h_y = rule(x, predicted, y)
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


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.LeaveOneOut(smallest=0.0), "smallest"),
        (lambda: kd.LeaveOneOut(evaluations=1), "evaluations"),
        (lambda: kd.ConditionalLeaveOneOut(rounds=0), "rounds"),
        (
            lambda: kd.KDEDiffusion(kd.ConditionalLeaveOneOut(), 1.0),
            "obs_bandwidth: expected None with ConditionalLeaveOneOut",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
