"""The product kernel in scale-free coordinates, and with several measurements per member."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

SHIFT = np.array([[5.0, -100.0, 0.0]])
SCALE = np.array([[100.0, 0.01, 3.0]])


@eqx.filter_jit
def update(scheme, *args):
    return scheme.update(*args)


@eqx.filter_jit
def analyse(scheme, *args):
    return scheme(*args)


def scheme(coordinates, replicates=1, h=(0.4, 0.6), sampler=None):
    kernel = kd.ProductKernel(coordinates, replicates)
    return kd.KDEDiffusion(state_bandwidth=h[0], obs_bandwidth=h[1], kernel=kernel, sampler=sampler)


def pairs(key, n=40):
    x = jax.random.normal(key, (n, 3), jnp.float64)
    return x, x[:, :2] + 0.3 * jax.random.normal(jax.random.key(7), (n, 2), jnp.float64)


def test_own_coordinates_are_the_default(x64, key):
    x, predicted = pairs(key)
    y = jnp.array([0.4, 0.1])
    plain = kd.KDEDiffusion(state_bandwidth=0.4, obs_bandwidth=0.6)
    a, _ = update(plain, key, x, predicted, y)
    b, _ = update(scheme("own"), key, x, predicted, y)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("missing", [False, True])
def test_standardised_is_the_paper_s_kernel_with_a_bandwidth_per_coordinate(x64, key, missing):
    x, predicted = pairs(key)
    x, predicted = x * jnp.array([[1.0, 10.0, 0.1]]), predicted * jnp.array([[3.0, 0.2]])
    y = jnp.array([0.4, jnp.nan if missing else 0.1])
    mixture = kd.ExactMixture()
    a, info = update(scheme("standardised", sampler=mixture), key, x, predicted, y)
    each = kd.KDEDiffusion(
        state_bandwidth=0.4 * jnp.std(x, axis=0, ddof=1),
        obs_bandwidth=0.6 * jnp.std(predicted, axis=0, ddof=1),
        sampler=mixture,
    )
    b, expected = update(each, key, x, predicted, y)
    np.testing.assert_allclose(info.ess, expected.ess, rtol=1e-9)
    # the sort of the components is along another axis: compare what does not depend on it
    np.testing.assert_allclose(a.mean(0), b.mean(0), atol=0.35 * float(np.std(b)))


@pytest.mark.parametrize("coordinates", ["standardised", "whitened"])
def test_numbers_mean_the_same_in_other_units(x64, key, coordinates):
    """Scaled and shifted state and measurement give the scaled and shifted analysis."""
    x, predicted = pairs(key)
    y = jnp.array([0.4, 0.1])
    obs_scale = jnp.array([0.1, 50.0])
    one = scheme(coordinates)
    a, info = update(one, key, x, predicted, y)
    b, same = update(
        one, key, x * SCALE + SHIFT, predicted * obs_scale[None] - 7.0, y * obs_scale - 7.0
    )
    np.testing.assert_allclose(info.ess, same.ess, rtol=1e-8)
    np.testing.assert_allclose(np.asarray(a) * SCALE + SHIFT, b, rtol=1e-6, atol=1e-6)


def test_whitened_distances_are_mahalanobis(x64, key):
    x, predicted = pairs(key, 400)
    predicted = predicted @ jnp.array([[2.0, 1.0], [0.0, 0.8]])
    y = predicted[3] + 0.01
    _, info = update(scheme("whitened", h=(0.4, 0.3)), key, x, predicted, y)
    inverse = np.linalg.inv(np.cov(predicted.T))
    e = np.asarray(predicted) - np.asarray(y)
    weights = np.exp(-0.5 * np.einsum("ni,ij,nj->n", e, inverse, e) / 0.3**2)
    weights /= weights.sum()
    # shrinkage moves the covariance by O(1/n)
    np.testing.assert_allclose(info.ess, 1 / (weights**2).sum(), rtol=0.02)


def test_a_missing_component_turns_no_other(x64, key):
    x, predicted = pairs(key)
    half, _ = update(scheme("whitened"), key, x, predicted, jnp.array([0.4, jnp.nan]))
    alone, _ = update(scheme("whitened"), key, x, predicted[:, :1], jnp.array([0.4]))
    np.testing.assert_allclose(half, alone, rtol=1e-7, atol=1e-8)


def test_replicates_calm_the_weights(key):
    """The exact weights are those of R + h_y^2: many replicates come nearer to them."""
    x = jax.random.normal(key, (200, 2))
    y = jnp.array([0.3, -0.2])
    observation = kd.GaussianObservation(kd.observations.identity, 0.5)
    h_y = 0.3

    def error(replicates):
        sizes = []
        for k in jax.random.split(key, 10):
            one = scheme("own", replicates, (0.2, h_y), kd.ExactMixture())
            sizes.append(float(analyse(one, k, x, y, observation)[1].ess))
        exact = jax.nn.softmax(-0.5 * jnp.sum((x - y[None]) ** 2, axis=1) / (0.25 + h_y**2))
        return np.sqrt(np.mean((np.array(sizes) * float(jnp.sum(exact**2)) - 1) ** 2))

    assert error(16) < 0.5 * error(1)


def test_replicates_are_the_sum_of_their_kernels(x64, key):
    x = jax.random.normal(key, (30, 2), jnp.float64)
    y = jnp.array([0.3, -0.2])
    observation = kd.GaussianObservation(kd.observations.identity, 0.5)
    one = scheme("own", 4, (0.2, 0.4), kd.ExactMixture())
    _, info = analyse(one, key, x, y, observation)
    predict_key, _ = jax.random.split(key)
    drawn = [
        kd.observations.sample_ensemble(observation, k, x, 0.0)
        for k in jax.random.split(predict_key, 4)
    ]
    weights = sum(
        np.exp(-0.5 * ((np.asarray(p) - np.asarray(y)) ** 2).sum(1) / 0.4**2) for p in drawn
    )
    weights = np.asarray(weights) / np.sum(weights)
    np.testing.assert_allclose(info.ess, 1 / (weights**2).sum(), rtol=1e-9)


@pytest.mark.parametrize("coordinates", ["standardised", "whitened"])
@pytest.mark.parametrize("case", ["few", "constant", "identical"])
def test_degenerate_ensembles_are_finite(key, coordinates, case):
    n = 3 if case == "few" else 12
    x = jax.random.normal(key, (n, 4))
    if case == "constant":
        x = x.at[:, 1].set(2.0)
    if case == "identical":
        x = jnp.broadcast_to(x[:1], x.shape)
    out, info = update(scheme(coordinates), key, x, x[:, :2] + 0.1, jnp.array([0.4, 0.1]))
    assert info.ok and np.isfinite(np.asarray(out)).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.ProductKernel("polar"), "coordinates"),
        (lambda: kd.ProductKernel(replicates=0), "replicates"),
    ],
)
def test_bad_options_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
