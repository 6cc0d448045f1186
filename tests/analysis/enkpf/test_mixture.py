"""The covariance kernel: its limits, its moments, its own settings, bad input."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.analysis import bridge as bridges
from kdediff_jax.analysis import covariance_kernel, gains
from kdediff_jax.analysis.covariance_kernel import shrunk
from kdediff_jax.analysis.noise import from_pairs, split
from kdediff_jax.kalman import analysis as kalman_analysis

# compiled: operation by operation they are slow
bridge = eqx.filter_jit(bridges.bridge)
condition = eqx.filter_jit(covariance_kernel.condition)
neighbourhoods = eqx.filter_jit(gains.neighbourhoods)


@eqx.filter_jit
def analyse(scheme, *args):
    return scheme(*args)


ALL = jnp.inf  # one gain from the whole ensemble
PLAIN = kd.CovarianceKernel(
    kalman_share=0.0, inflation=1.0, locality=ALL, surprise=jnp.inf, doubt=0.0
)
MATRIX = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
STD = np.array([0.7, 0.4])


def forecast(key, n=40, d=3, dtype=jnp.float64):
    mix = jnp.asarray(np.random.default_rng(3).normal(size=(d, d)), dtype)
    return (jax.random.normal(key, (n, d), dtype) @ mix.T + 3).astype(dtype)


def observation(dtype=jnp.float64):
    return kd.GaussianObservation(kd.Linear(MATRIX.astype(dtype)), STD.astype(dtype))


def mixture_moments(mixture):
    w = np.exp(np.asarray(mixture.log_weights))
    means, root = np.asarray(mixture.means), np.asarray(mixture.root)
    mean = w @ means
    centred = means - mean
    return mean, centred.T @ (w[:, None] * centred) + root @ root.T


def by_hand(x, y, h):
    """Return the mixture of the module's equations, with NumPy inverses."""
    n = len(x)
    mean = x.mean(0)
    p = np.cov(x.T)
    r = np.diag(STD**2)
    centres = mean + np.sqrt(1 - h**2) * (x - mean)
    s = h**2 * MATRIX @ p @ MATRIX.T + r
    g = h**2 * p @ MATRIX.T @ np.linalg.inv(s)
    e = y - centres @ MATRIX.T
    log_w = -0.5 * np.einsum("ni,ij,nj->n", e, np.linalg.inv(s), e)
    w = np.exp(log_w - log_w.max())
    q = h**2 * p - g @ MATRIX @ p * h**2
    assert n > 3
    return centres + e @ g.T, w / w.sum(), q


@pytest.mark.parametrize("h", [0.2, 0.6, 1.0])
def test_components_are_those_of_the_equations(x64, key, h):
    x, y = forecast(key), jnp.array([4.0, 1.0])
    measurement = split(observation(), key, x, jnp.zeros(()))
    got = condition(x, jnp.ones(40, bool), y, measurement, jnp.asarray(h))
    means, w, q = by_hand(np.asarray(x), np.asarray(y), h)
    np.testing.assert_allclose(got.means, means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.exp(got.log_weights), w, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(
        got.root @ got.root.T, shrunk(jnp.asarray(q), 40), rtol=1e-8, atol=1e-9
    )


def test_h_one_is_the_gaussian_update(x64, key):
    x, y = forecast(key), jnp.array([4.0, 1.0])
    measurement = split(observation(), key, x, jnp.zeros(()))
    mixture = condition(x, jnp.ones(40, bool), y, measurement, jnp.asarray(1.0))
    mean, _ = mixture_moments(mixture)
    p = jnp.cov(x.T)
    expected, _ = kalman_analysis(
        x.mean(0), p, y, jnp.asarray(MATRIX), jnp.diag(jnp.asarray(STD) ** 2)
    )
    np.testing.assert_allclose(mean, expected, rtol=1e-9)
    np.testing.assert_allclose(mixture.means, np.tile(expected, (40, 1)), rtol=1e-9)


def test_small_h_is_the_particle_filter(x64, key):
    x, y = forecast(key), jnp.array([4.0, 1.0])
    obs = observation()
    mixture = condition(
        x, jnp.ones(40, bool), y, split(obs, key, x, jnp.zeros(())), jnp.asarray(1e-6)
    )
    expected = jax.nn.log_softmax(jax.vmap(lambda z: obs.log_likelihood(y, z, 0.0))(x))
    np.testing.assert_allclose(mixture.log_weights, expected, rtol=1e-6)
    np.testing.assert_allclose(mixture.means, x, atol=1e-6)


@pytest.mark.parametrize("h", [0.1, 0.5, 0.9, 1.0])
def test_moments_are_kept_where_nothing_is_measured(x64, key, h):
    x = forecast(key)
    y = jnp.full(2, jnp.nan)
    measurement = split(observation(), key, x, jnp.zeros(()))
    mixture = condition(x, jnp.ones(40, bool), y, measurement, jnp.asarray(h))
    mean, covariance = mixture_moments(mixture)
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(np.diag(covariance), np.var(x, axis=0, ddof=1), rtol=0.03)


def test_covariance_kernel_without_linearisation_is_the_product_kernel(x64, key):
    """P = I, a measurement without relation to the state: weights and kernel of the paper."""
    x = forecast(key, n=400)
    x = kd.latents.match_moments(x) * (399 / 400) ** 0.5
    predicted = x[:, :1] ** 2  # even: no covariance with x to speak of
    y, h, r = jnp.array([1.5]), 0.05, 0.3
    measurement = split(kd.GaussianObservation(first_squared, r), key, x, jnp.zeros(()))
    mixture = condition(x, jnp.ones(400, bool), y, measurement, jnp.asarray(h))
    spread = float(jnp.var(predicted, ddof=1)) * h**2
    expected = kd.kde.log_weights(y, predicted, (r**2 + spread) ** 0.5)
    np.testing.assert_allclose(jnp.exp(mixture.log_weights), jnp.exp(expected), atol=2e-4)
    np.testing.assert_allclose(mixture.root, h * np.eye(3), atol=2e-3)


def first_squared(x):
    return x[:1] ** 2


def test_gaussian_posterior_of_a_linear_problem(x64, key):
    n = 4000
    x = forecast(key, n=n)
    y = jnp.array([5.0, 0.5])
    p = jnp.cov(x.T)
    mean, covariance = kalman_analysis(
        x.mean(0), p, y, jnp.asarray(MATRIX), jnp.diag(jnp.asarray(STD) ** 2)
    )
    for kernel in (kd.CovarianceKernel(), PLAIN, dataclasses.replace(PLAIN, kalman_share=1.0)):
        out, info = analyse(kd.KDEDiffusion(kernel=kernel), key, x, y, observation())
        assert info.ok
        se = np.sqrt(np.diag(covariance) / (float(info.ess) / 4))
        assert (np.abs(info.mean - mean) < 4 * se).all()
        np.testing.assert_allclose(
            np.cov(np.asarray(out).T), covariance, atol=0.15 * covariance.max()
        )


def test_full_kalman_share_moves_members_as_an_enkf_does(x64, key):
    x, y = forecast(key), jnp.array([4.0, 1.0])
    kernel = dataclasses.replace(PLAIN, kalman_share=1.0)
    measurement = split(observation(), key, x, jnp.zeros(()))
    out = bridge(kernel, key, x, jnp.ones(40, bool), y, measurement, jnp.asarray(1e-5))
    # matched perturbations: the mean moves by the gain exactly, and so does the covariance
    p = np.cov(np.asarray(x).T)
    k = p @ MATRIX.T @ np.linalg.inv(MATRIX @ p @ MATRIX.T + np.diag(STD**2))
    mean, covariance = mixture_moments(out.components)
    np.testing.assert_allclose(mean, x.mean(0) + k @ (y - MATRIX @ x.mean(0)), rtol=1e-6)
    np.testing.assert_allclose(out.components.log_weights, -np.log(40), rtol=1e-9)
    assert float(out.share) == 1
    assert np.all(np.linalg.eigvalsh(covariance) > 0)


def test_few_members_in_many_dimensions_leave_it_to_the_kalman_gain(key):
    shares = {}
    for n, d in ((1000, 2), (20, 40)):
        x = jax.random.normal(key, (n, d))
        obs = kd.GaussianObservation(kd.observations.identity, 0.3)
        measurement = split(obs, key, x, jnp.zeros(()))
        y = jnp.full(d, 0.5)
        out = bridge(kd.CovarianceKernel(), key, x, jnp.ones(n, bool), y, measurement, None)
        shares[d] = float(out.share)
        ess = float(kd.kde.effective_sample_size(out.components.log_weights))
        assert ess >= n / (1 + 0.015 * n / d) * 0.999
    assert shares[2] < 0.3 and shares[40] > 0.7


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0])
def test_neighbourhoods_of_a_gaussian_are_the_whole_ensemble(x64, key, width):
    z = kd.latents.match_moments(jax.random.normal(key, (3000, 2), jnp.float64))
    root = jnp.array([[2.0, 0.0], [0.5, 1.0]])
    predicted = z @ root.T @ jnp.array([[1.0], [0.3]])
    near = neighbourhoods(z, root, predicted, jnp.asarray(width))
    whole = gains.whole_ensemble(z @ root.T, predicted)
    core = np.linalg.norm(z, axis=1) < 1
    assert abs(np.median(near.signal[core, 0, 0]) / whole.signal[0, 0, 0] - 1) < 0.1
    np.testing.assert_allclose(
        np.median(near.cross[core], axis=0), whole.cross[0], atol=0.1 * np.abs(whole.cross).max()
    )


def test_two_modes_get_a_gain_each(key):
    """|x| measured from two modes: the slope is -1 in the one and +1 in the other."""
    signs = jnp.where(jnp.arange(200) < 100, -1.0, 1.0)
    x = (2 * signs + 0.2 * jax.random.normal(key, (200,)))[:, None]
    predicted = jnp.abs(x) - jnp.mean(jnp.abs(x))
    std = jnp.std(x)
    near = neighbourhoods(x / std, std[None, None], predicted, jnp.asarray(0.3))
    assert np.allclose(np.sign(near.cross[:, 0, 0]), signs)
    np.testing.assert_allclose(np.median(near.signal), 0.04, rtol=0.5)


def test_infinite_locality_is_one_gain(x64, key):
    x, y = forecast(key), jnp.array([4.0, 1.0])
    measurement = split(observation(), key, x, jnp.zeros(()))
    args = (key, x, jnp.ones(40, bool), y, measurement, None)
    wide = bridge(kd.CovarianceKernel(locality=ALL, kalman_share=1.0), *args)
    near = bridge(kd.CovarianceKernel(locality=1e3, kalman_share=1.0), *args)
    np.testing.assert_allclose(near.components.means, wide.components.means, rtol=0.05, atol=0.05)


def test_noise_from_replicates_and_from_pairs(x64, key):
    x = forecast(key, n=500)
    obs = observation()
    sampled = split(obs, key, x, jnp.zeros(()), "sampled")
    np.testing.assert_allclose(np.diag(sampled.covariance), STD**2, rtol=0.15)
    np.testing.assert_allclose(sampled.predict(x), x @ MATRIX.T, atol=4 * STD.max() / 8**0.5 * 1.2)
    pairs = from_pairs(x, kd.observations.sample_ensemble(obs, key, x, jnp.zeros(())))
    np.testing.assert_allclose(np.diag(pairs.covariance), STD**2, rtol=0.2)
    np.testing.assert_allclose(pairs.predict(x), x @ MATRIX.T, atol=0.3)


def test_update_needs_pairs_only(key):
    x = forecast(key, n=300, dtype=jnp.float32)
    obs = observation(jnp.float32)
    predicted = kd.observations.sample_ensemble(obs, key, x, jnp.zeros(()))
    y = jnp.array([5.0, 0.5])
    blind, info = kd.KDEDiffusion().update(key, x, predicted, y)
    seeing, _ = analyse(kd.KDEDiffusion(), key, x, y, obs)
    assert info.ok and blind.dtype == x.dtype
    np.testing.assert_allclose(blind.mean(0), seeing.mean(0), atol=0.3)


@pytest.mark.parametrize("make", [kd.LaplaceObservation, kd.StudentTObservation])
def test_exact_density_weighs_the_centres(key, make):
    obs = make(kd.Select((0,)), 0.5)
    x = forecast(key, dtype=jnp.float32)
    y = jnp.array([2.0])
    measurement = split(obs, key, x, jnp.zeros(()))
    assert measurement.log_likelihood is not None
    mixture = condition(x, jnp.ones(40, bool), y, measurement, jnp.asarray(1e-3))
    expected = jax.nn.log_softmax(jax.vmap(lambda z: obs.log_likelihood(y, z, 0.0))(x))
    np.testing.assert_allclose(mixture.log_weights, expected, atol=0.05)


@pytest.mark.parametrize("make", [kd.LaplaceObservation, kd.StudentTObservation])
def test_heavy_tails_have_unit_mass_and_the_variance_stated(x64, key, make):
    obs = make(kd.Select((0,)), 0.5)
    e = jnp.linspace(-60.0, 60.0, 400_001)
    density = jnp.exp(jax.vmap(lambda y: obs.log_likelihood(y[None], jnp.zeros(1), 0.0))(e))
    step = float(e[1] - e[0])
    assert abs(float(density.sum()) * step - 1) < 1e-4
    assert abs(float((density * e**2).sum()) * step - 0.25) < 5e-3
    drawn = jax.vmap(lambda k: obs.sample(k, jnp.zeros(1), 0.0))(jax.random.split(key, 40_000))
    assert abs(float(drawn.std()) - 0.5) < 0.03
    assert float(obs.log_likelihood(jnp.array([jnp.nan]), jnp.zeros(1), 0.0)) == 0


def test_sampling_inflation_is_what_sampling_theory_says(x64):
    """The mean analysis error of a sampled gain over what the ensemble claims, in a scalar game."""
    n, m, draws = 30, 8, 4000
    rng = np.random.default_rng(0)
    # a coordinate that has nothing to do with m measured ones, all of unit variance
    error, claimed, rule = [], [], []
    signal = np.eye(m)
    factor = kd.SamplingInflation()
    for _ in range(draws):
        x = rng.normal(size=(n, m + 1))
        p = np.cov(x.T)
        k = np.linalg.solve(p[1:, 1:] + np.eye(m), p[1:, 0])
        error.append(1 + k @ (2 * np.eye(m)) @ k)  # truth - k (H e + noise)
        claimed.append(p[0, 0] - p[0, 1:] @ k)
    rule = float(factor(jnp.asarray(signal), jnp.eye(m), n)) ** 2
    assert abs(np.mean(error) / np.mean(claimed) / rule - 1) < 0.05


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("case", ["n below d", "constant", "identical", "far y", "one alive"])
def test_degenerate_ensembles_give_finite_members(x64, key, dtype, case):
    n, d = (6, 12) if case == "n below d" else (20, 3)
    x = jax.random.normal(key, (n, d), dtype)
    y = jnp.full(d, 0.5, dtype)
    if case == "constant":
        x = x.at[:, 1].set(2)
    if case == "identical":
        x = jnp.broadcast_to(x[:1], x.shape)
    if case == "far y":
        y = jnp.full(d, 1e6, dtype)
    if case == "one alive":
        x = x.at[2:].set(jnp.nan)
    obs = kd.GaussianObservation(kd.observations.identity, 0.3)
    out, info = analyse(kd.KDEDiffusion(), key, x, y, obs)
    assert info.ok and np.isfinite(out).all() and out.dtype == dtype


def test_noise_of_zero_variance_in_one_component(key):
    x = jax.random.normal(key, (50, 3))
    out, info = analyse(kd.KDEDiffusion(), key, x, jnp.array([0.1, 0.2]), HalfExact())
    assert info.ok and np.isfinite(out).all()
    assert np.abs(out[:, 0] - 0.1).max() < 0.05


class HalfExact(kd.AbstractObservation):
    """The first component is measured without noise; only `sample` is known."""

    def sample(self, key, x, t):
        return x[:2] + jnp.array([0.0, 0.5]) * jax.random.normal(key, (2,))


def test_not_positive_definite_noise_is_a_flag(key):
    x = jax.random.normal(key, (50, 2))
    _, info = analyse(
        kd.KDEDiffusion(), key, x, jnp.zeros(2), BadNoise(kd.observations.identity, 0.3)
    )
    assert not info.ok


class BadNoise(kd.GaussianObservation):
    def covariance(self, m, dtype, t):
        return jnp.array([[1.0, 2.0], [2.0, 1.0]], dtype)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.KDEDiffusion(state_bandwidth=1.0), "obs_bandwidth: expected one"),
        (lambda: kd.KDEDiffusion(kernel="covariance", obs_bandwidth=1.0), "obs_bandwidth"),
        (lambda: kd.KDEDiffusion(kernel="covariance", state_bandwidth=2.0), "at most 1"),
        (lambda: kd.KDEDiffusion(kernel="covarance"), "did you mean 'covariance'"),
        (lambda: kd.CovarianceKernel(kalman_share=1.5), r"kalman_share: .* \[0, 1\]"),
        (lambda: kd.CovarianceKernel(locality=0.0), "locality"),
        (lambda: kd.CovarianceKernel(evidence=-1.0), "evidence"),
        (lambda: kd.CovarianceKernel(surprise=-1.0), "surprise"),
        (lambda: kd.CovarianceKernel(doubt=-1.0), "doubt"),
        (lambda: kd.CovarianceKernel(noise="knwon"), "did you mean 'known'"),
        (lambda: kd.SamplingInflation(-1.0), "factor"),
        (lambda: kd.StudentTObservation(kd.Select((0,)), 1.0, 2.0), "freedom"),
    ],
)
def test_bad_options_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_kernel_of_another_kind_is_named():
    with pytest.raises(TypeError, match="kernel: expected one of"):
        kd.KDEDiffusion(kernel=3)


def test_nothing_measured_leaves_the_forecast(key):
    x = forecast(key, dtype=jnp.float32)
    out, _ = analyse(kd.KDEDiffusion(), key, x, jnp.full(2, jnp.nan), observation(jnp.float32))
    np.testing.assert_array_equal(out, x)


def test_settings_are_numbers_of_one_program(key):
    x, y = forecast(key, dtype=jnp.float32), jnp.array([4.0, 1.0])
    traced = []

    @jax.jit
    def run(budget, locality):
        traced.append(1)
        kernel = kd.CovarianceKernel(noise_budget=budget, locality=locality)
        return analyse(kd.KDEDiffusion(kernel=kernel), key, x, y, observation(jnp.float32))[0]

    first = run(jnp.float32(0.03), jnp.float32(0.3))
    second = run(jnp.float32(0.3), jnp.float32(jnp.inf))
    assert len(traced) == 1 and not np.allclose(first, second)
