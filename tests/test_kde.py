"""The conditional kernel density against dense autodiff and a float64 double loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from scipy.integrate import quad

from kdediff_jax import kde, pairwise

TAU = 0.37
DATA = ("ordinary", "apart", "far")


def mixture(data, d, dtype, n=12, q=8):
    """Queries, centres and log-weights: ordinary, 1e3 bandwidths apart, or 1e4 from the origin."""
    rng = np.random.default_rng(d)
    centres = rng.normal(size=(n, d)) * (1e3 * TAU if data == "apart" else 1)
    queries = centres[rng.integers(0, n, q)] + TAU * rng.normal(size=(q, d))
    offset = 1e4 * TAU if data == "far" else 0
    log_weights = np.log(rng.dirichlet(np.ones(n)))
    return tuple(a.astype(dtype) for a in (queries + offset, centres + offset, log_weights))


def widths(kind, d, dtype):
    vector = TAU * np.random.default_rng(99).uniform(0.5, 2, d)
    return (np.asarray(TAU) if kind == "scalar" else vector).astype(dtype)


def loop(x, centres, log_weights, tau):
    """Score and log-density by a float64 double loop over the given (rounded) inputs."""
    x, c, b = (np.asarray(a, np.float64) for a in (x, centres, log_weights))
    tau = np.broadcast_to(np.asarray(tau, np.float64), c.shape[1:])
    score, density = np.zeros_like(x), np.zeros(len(x))
    for q in range(len(x)):
        logits = np.array([b[i] - 0.5 * np.sum(((x[q] - c[i]) / tau) ** 2) for i in range(len(c))])
        p = np.exp(logits - logits.max())
        score[q] = np.sum(p[:, None] * (c - x[q]), axis=0) / p.sum() / tau**2
        constant = np.sum(np.log(tau * np.sqrt(2 * np.pi))) + np.log(np.exp(b).sum())
        density[q] = logits.max() + np.log(p.sum()) - constant
    return score, density


def explicit_log_density(x, centres, log_weights, tau):
    """Log-density of one point, dense and unnormalised."""
    return logsumexp(log_weights - 0.5 * jnp.sum(((x[None] - centres) / tau) ** 2, axis=1))


dense_gradient = jax.jit(jax.vmap(jax.grad(explicit_log_density), (0, None, None, None)))


@jax.jit
def evaluate(x, centres, log_weights, tau):
    args = (x, centres, log_weights, tau)
    return kde.score(*args), kde.log_density(*args)


def relative(got, wanted):
    return np.max(np.abs(got - wanted)) / np.max(np.abs(wanted))


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("d", [1, 3, 20])
@pytest.mark.parametrize("width", ["scalar", "vector"])
def test_score_is_the_gradient_of_the_log_density(dtype, width, d, data):
    x, centres, log_weights = mixture(data, d, dtype)
    tau = widths(width, d, dtype)
    score, log_density = evaluate(*map(jnp.asarray, (x, centres, log_weights, tau)))
    assert score.dtype == log_density.dtype == dtype and score.shape == x.shape
    by_loop, density = loop(x, centres, log_weights, tau)
    with jax.enable_x64(True):  # references in float64 from the rounded inputs
        wide = np.broadcast_to(tau, (1, d))
        inputs = [jnp.asarray(a, jnp.float64) for a in (x, centres, log_weights, wide)]
        autodiff = np.asarray(dense_gradient(*inputs))
    # float32: a logit of size (|x|/tau)^2 = 1e6 rounds by 0.1, but only where its weight is nil
    tolerance = 1e-10 if dtype == np.float64 else 1e-4
    assert relative(score, by_loop) < tolerance
    assert relative(score, autodiff) < tolerance
    # the product form of the distance rounds by eps (|x|/tau)^2, which the log-sum keeps
    radius = np.max(np.sum(((centres - centres.mean(axis=0)) / tau) ** 2, axis=1))
    rounding = radius * np.finfo(dtype).eps if d > pairwise.DIFFERENCES_UP_TO else 0
    error = np.max(np.abs(log_density - density))
    assert error < tolerance * np.max(np.abs(density)) + 4 * rounding


def test_denoiser_is_the_softmax_mean_for_points_and_rows(dtype):
    x, centres, log_weights = mixture("ordinary", 3, dtype)
    score, _ = loop(x, centres, log_weights, TAU)
    centres, log_weights, tau = map(jnp.asarray, (centres, log_weights, np.asarray(TAU, dtype)))
    wanted, tolerance = x + TAU**2 * score, 20 * jnp.finfo(dtype).eps
    for point, mean in ((jnp.asarray(x), wanted), (jnp.asarray(x[0]), wanted[0])):
        got = jax.jit(kde.denoiser)(point, centres, log_weights, tau)
        assert got.dtype == dtype and got.shape == mean.shape
        assert relative(got, mean) < tolerance
    assert evaluate(jnp.asarray(x[0]), centres, log_weights, tau)[1].shape == ()


def test_density_integrates_to_one_whatever_the_weights_sum_to(x64):
    _, centres, log_weights = mixture("ordinary", 1, x64)
    centres, log_weights = jnp.asarray(centres), jnp.asarray(log_weights) + 7.0
    density = jax.jit(lambda x: jnp.exp(kde.log_density(x[None], centres, log_weights, TAU)))
    mass, _ = quad(lambda x: float(density(jnp.float64(x))), -8, 8, limit=200)
    assert abs(mass - 1) < 1e-7


def test_score_does_not_see_the_order_of_the_members(dtype):
    x, centres, log_weights = map(jnp.asarray, mixture("ordinary", 3, dtype))
    order = np.random.default_rng(1).permutation(len(centres))
    tau = jnp.asarray(TAU, dtype)
    one, _ = evaluate(x, centres, log_weights, tau)
    other, _ = evaluate(x, centres[order], log_weights[order], tau)
    assert relative(other, one) < 50 * jnp.finfo(dtype).eps


@pytest.mark.parametrize("d", [1, 3, 20])
@pytest.mark.parametrize("where", [0.1, 1e6, 1e20])
def test_masked_members_say_nothing_wherever_they_are(dtype, where, d):
    x, centres, log_weights = mixture("ordinary", d, dtype)
    masked = np.arange(len(centres)) % 4 == 1
    score, density = loop(x, centres[~masked], log_weights[~masked], TAU)
    centres[masked], log_weights[masked] = where, -np.inf
    args = map(jnp.asarray, (x, centres, log_weights, np.asarray(TAU, dtype)))
    got_score, got_density = evaluate(*args)
    assert relative(got_score, score) < 100 * jnp.finfo(dtype).eps
    assert relative(got_density, density) < 100 * jnp.finfo(dtype).eps


def test_jit_and_vmap_over_the_bandwidth_give_the_same(dtype):
    x, centres, log_weights = map(jnp.asarray, mixture("ordinary", 3, dtype))
    taus = jnp.asarray([0.2, 0.5, 2.0], dtype)
    batched = jax.jit(jax.vmap(kde.score, (None, None, None, 0)))(x, centres, log_weights, taus)
    for tau, got in zip(taus, batched, strict=True):
        wanted, _ = evaluate(x, centres, log_weights, tau)
        assert relative(got, wanted) < 50 * jnp.finfo(dtype).eps


# --- log-weights -----------------------------------------------------------------------------


log_weights_of = jax.jit(kde.log_weights)


def weights_reference(y, predicted, h):
    """Normalised weights in extended precision, NaN components left out."""
    y, predicted = np.asarray(y, np.longdouble), np.asarray(predicted, np.longdouble)
    here = ~np.isnan(y)
    h = np.broadcast_to(np.asarray(h, np.longdouble), y.shape)[here]
    logits = -0.5 * np.sum(((y[here] - predicted[:, here]) / h) ** 2, axis=1)
    w = np.exp(logits - logits.max())
    return (w / w.sum()).astype(np.float64)


@pytest.mark.parametrize("missing", [(), (1,), (0, 3)])
@pytest.mark.parametrize("width", ["scalar", "vector"])
def test_log_weights_leave_missing_components_out(dtype, width, missing):
    rng = np.random.default_rng(0)
    y, predicted = rng.normal(size=4).astype(dtype), rng.normal(size=(9, 4)).astype(dtype)
    y[list(missing)] = np.nan
    h = widths(width, 4, dtype)
    got = log_weights_of(*map(jnp.asarray, (y, predicted, h)))
    assert got.dtype == dtype and got.shape == (9,)
    tolerance = 200 * jnp.finfo(dtype).eps
    np.testing.assert_allclose(np.exp(got), weights_reference(y, predicted, h), rtol=tolerance)


def test_nothing_measured_gives_exactly_equal_weights(dtype):
    got = kde.log_weights(jnp.full(3, jnp.nan, dtype), jnp.ones((5, 3), dtype), 0.1)
    assert np.all(np.asarray(got) == np.asarray(got)[0])
    # log_softmax rounds log(5) once
    np.testing.assert_allclose(got, -np.log(5), rtol=2 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize("m", [1, 2, 40])
@pytest.mark.parametrize("spread", [1.0, 1e-5, 1e-6])  # in bandwidths; 1e-6: all weights matter
def test_a_far_measurement_gives_finite_weights_with_their_digits(dtype, spread, m):
    rng = np.random.default_rng(m)
    h = np.asarray(0.7, dtype)
    predicted = (spread * h * rng.normal(size=(60, m))).astype(dtype)
    y = np.full(m, 1e6 * h / np.sqrt(m), dtype)
    got = log_weights_of(*map(jnp.asarray, (y, predicted, h)))
    assert np.all(np.isfinite(got))
    wanted = weights_reference(y, predicted, h)
    seen = wanted > 1e-6
    assert spread > 1e-6 or seen.sum() > 20
    np.testing.assert_allclose(np.exp(got)[seen], wanted[seen], rtol=1e-3)
    np.testing.assert_allclose(np.exp(got), wanted, atol=1e-4)


def test_effective_sample_size_does_not_need_normalised_weights(dtype):
    w = np.random.default_rng(0).dirichlet(np.ones(20)).astype(dtype)
    got = kde.effective_sample_size(jnp.log(jnp.asarray(w)) + 3)
    np.testing.assert_allclose(got, w.sum() ** 2 / (w**2).sum(), rtol=100 * jnp.finfo(dtype).eps)
    np.testing.assert_allclose(kde.effective_sample_size(jnp.zeros(7, dtype)), 7, rtol=1e-5)
    one = jnp.asarray([0.0, -jnp.inf, -jnp.inf], dtype)
    np.testing.assert_allclose(kde.effective_sample_size(one), 1, rtol=1e-6)


# --- bad input -------------------------------------------------------------------------------

X, C, B, Y = np.zeros((4, 3)), np.ones((5, 3)), np.zeros(5), np.zeros(3)


@pytest.mark.parametrize("call", [kde.score, kde.denoiser, kde.log_density])
@pytest.mark.parametrize(
    ("args", "error", "name"),
    [
        ((X[:, :2], C, B, 1.0), ValueError, "x: "),
        ((X[None], C, B, 1.0), ValueError, "x: "),
        ((X, C[0], B, 1.0), ValueError, "centres: "),
        ((X, C[:0], B[:0], 1.0), ValueError, "centres: "),
        ((X, C, B[:4], 1.0), ValueError, "log_weights: "),
        ((X, C, C, 1.0), ValueError, "log_weights: "),
        ((X, C, B, np.ones(2)), ValueError, "tau: "),
        ((X, C, B, 0.0), ValueError, "tau: "),
        ((X, C, B, -1.0), ValueError, "tau: "),
        ((X, C, B, np.array([1.0, np.nan, 1.0])), ValueError, "tau: "),
        ((X.astype(int), C, B, 1.0), TypeError, "x: "),
        ((X, C.astype(int), B, 1.0), TypeError, "centres: "),
        ((X, C, B.astype(int), 1.0), TypeError, "log_weights: "),
    ],
)
def test_bad_mixtures_name_the_argument(call, args, error, name):
    with pytest.raises(error, match=f"^{name}"):
        call(*args)


@pytest.mark.parametrize(
    ("args", "error", "name"),
    [
        ((Y[:2], C, 1.0), ValueError, "y: "),
        ((Y[None], C, 1.0), ValueError, "y: "),
        ((Y, C[0], 1.0), ValueError, "predicted: "),
        ((Y, C[:0], 1.0), ValueError, "predicted: "),
        ((Y, C, np.ones(2)), ValueError, "obs_bandwidth: "),
        ((Y, C, 0.0), ValueError, "obs_bandwidth: "),
        ((Y, C, -0.5), ValueError, "obs_bandwidth: "),
        ((Y.astype(int), C, 1.0), TypeError, "y: "),
        ((Y, C.astype(int), 1.0), TypeError, "predicted: "),
    ],
)
def test_bad_measurements_name_the_argument(args, error, name):
    with pytest.raises(error, match=f"^{name}"):
        kde.log_weights(*args)
