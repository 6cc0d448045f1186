"""One coordinate's flow in closed form, against quantiles by SciPy and against the ODE itself."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from kdediff_jax import kde, pairwise
from kdediff_jax.samplers.marginal_flow import marginal_flow

move = jax.jit(marginal_flow)


def problem(key, n=40, dtype=jnp.float64):
    members_key, weight_key = jax.random.split(key)
    x = 5 + 2 * jax.random.normal(members_key, (n,), dtype)
    return x, jax.nn.log_softmax(-0.5 * (x - 6) ** 2 + jax.random.normal(weight_key, (n,), dtype))


def mixture(x, h):
    """Return the centres and the width of the smoothed ensemble."""
    return x.mean() + np.sqrt(1 - h**2) * (x - x.mean()), h * x.std()


@pytest.mark.parametrize("tile", [None, (7, 9), (1, 40), (40, 1)])
def test_distribution_function_is_the_double_loop(x64, key, tile):
    x, log_weights = problem(key)
    points = jnp.linspace(-3.0, 12.0, 23, dtype=jnp.float64)
    found = pairwise.gaussian_cdf(points, x, jnp.exp(log_weights), jnp.asarray(0.7), tile=tile)
    rows = [
        sum(w * norm.cdf((p - c) / 0.7) for w, c in zip(np.exp(log_weights), x, strict=True))
        for p in np.asarray(points)
    ]
    np.testing.assert_allclose(found, rows, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("h", [0.1, 0.4, 1.0])
def test_quantiles_are_scipys(x64, key, h):
    x, log_weights = problem(key, 15)
    centres, width = mixture(np.asarray(x), h)
    weights = np.exp(np.asarray(log_weights))
    out = np.asarray(move(x, log_weights, h))

    def cdf(value, w):
        return w @ norm.cdf((value - centres) / width)

    for before, after in zip(np.asarray(x), out, strict=True):
        level = cdf(before, np.full(15, 1 / 15))
        expected = brentq(lambda v, q=level: cdf(v, weights) - q, -100, 100, xtol=1e-12)
        np.testing.assert_allclose(after, expected, atol=1e-6)


def test_it_is_the_reverse_flow(x64, key):
    """Up to noise under equal weights and down again under the weights, by diffrax."""
    x, log_weights = problem(key, 12)
    h = 0.4
    centres, width = (jnp.asarray(v)[..., None] for v in mixture(np.asarray(x), h))
    top, bottom = np.log(1e5), np.log(float(width[0]))

    def solve(start, begin, end, weights):
        term = diffrax.ODETerm(lambda u, x, args: x - kde.denoiser(x, centres, weights, jnp.exp(u)))
        return diffrax.diffeqsolve(
            term, diffrax.Dopri8(), begin, end, None, start, max_steps=None,
            stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-10),
        ).ys[-1]  # fmt: skip

    equal = jnp.full(12, -jnp.log(12.0))
    latents = solve(x[:, None], bottom, top, equal)
    # at the top both densities are Gaussians of the same width, with different means
    shift = jnp.exp(log_weights) @ centres - jnp.mean(centres, axis=0)
    down = solve(latents + shift[None], top, bottom, log_weights)[:, 0]
    np.testing.assert_allclose(move(x, log_weights, h), down, atol=2e-3)


def test_equal_weights_move_nothing(dtype, key):
    x, _ = problem(key, dtype=dtype)
    out = move(x, jnp.full(40, -np.log(40), dtype), 0.3)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, x, atol=2e-5 if dtype == jnp.float32 else 1e-6)


def test_order_is_kept_and_mean_follows_the_weights(dtype, key):
    x, log_weights = problem(key, 400, dtype)
    out = np.asarray(move(x, log_weights, 0.2))
    np.testing.assert_array_equal(np.argsort(out), np.argsort(x))
    weights = np.exp(np.asarray(log_weights))
    centres, _ = mixture(np.asarray(x), 0.2)
    # quantiles at n levels: the mean is exact up to O(1/n) of the spread
    assert abs(out.mean() - weights @ centres) < 0.02 * np.std(x)


def test_identical_members_stay(dtype):
    x = jnp.full(5, 3.25, dtype)
    out = move(x, jax.nn.log_softmax(jnp.arange(5.0, dtype=dtype)), 0.3)
    np.testing.assert_array_equal(out, x)


def test_one_member_of_all_weight(dtype, key):
    x, _ = problem(key, dtype=dtype)
    log_weights = jnp.where(jnp.arange(40) == 3, 0.0, -jnp.inf).astype(dtype)
    out = np.asarray(move(x, log_weights, 0.1))
    centre = mixture(np.asarray(x), 0.1)[0][3]
    assert np.isfinite(out).all() and np.abs(out - centre).max() < 0.35 * np.std(x)


def test_gradients_are_finite_differences(x64, key):
    x, log_weights = problem(key, 9)

    def total(x, logits, h):
        return jnp.sum(jnp.sin(marginal_flow(x, jax.nn.log_softmax(logits), h)))

    gradients = jax.grad(total, argnums=(0, 1, 2))(x, log_weights, jnp.asarray(0.4))
    steps = (jnp.eye(9)[2], jnp.zeros(9), 0.0), (jnp.zeros(9), jnp.eye(9)[4], 0.0)
    for direction in (*steps, (jnp.zeros(9), jnp.zeros(9), 1.0)):
        e = 1e-4
        up, down = (move_sum(total, x, log_weights, sign * e, direction) for sign in (1.0, -1.0))
        along = sum(jnp.sum(g * d) for g, d in zip(gradients, direction, strict=True))
        np.testing.assert_allclose(along, (up - down) / (2 * e), rtol=1e-3, atol=1e-4)


def move_sum(total, x, logits, e, direction):
    a, b, c = direction
    return total(x + e * a, logits + e * b, jnp.asarray(0.4) + e * c)
