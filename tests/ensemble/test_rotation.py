"""Random rotations of the anomalies: moments stay, chance structure goes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.ensemble.rotation import rotate, unimodal

MIX = np.array([[2.0, 0.3, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 3.0]])


def ensemble(key, n, dtype=jnp.float64):
    return (jax.random.normal(key, (n, 3)) @ MIX + 5).astype(dtype)


@pytest.mark.parametrize("n", [3, 4, 5, 40, 101])
@pytest.mark.parametrize("angle", [0.3, np.pi / 2, np.pi])
def test_mean_and_covariance_stay(x64, key, n, angle):
    x = ensemble(key, n)
    y = rotate(jax.random.key(1), x, angle)
    np.testing.assert_allclose(y.mean(axis=0), x.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(np.cov(y.T), np.cov(x.T), atol=1e-11)
    assert np.abs(y - x).max() > 0.01


def test_float32_keeps_moments_to_rounding(key):
    x = ensemble(key, 200, jnp.float32)
    y = rotate(jax.random.key(1), x, 0.9)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y.mean(axis=0), x.mean(axis=0), atol=2e-5)
    np.testing.assert_allclose(np.cov(y.T), np.cov(x.T), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("angle", [0.4, 0.9, np.pi])
def test_a_member_keeps_the_part_of_itself_that_is_stated(x64, key, angle):
    n = 400
    x = jnp.eye(n)  # members' anomalies are the axes of a simplex
    kept = jnp.diagonal(rotate(key, x, angle))
    expected = np.exp(-(1 - np.cos(angle)) / 2)
    error = np.std(kept) / n**0.5
    assert abs(jnp.mean(kept) - expected) < 4 * error + 2 / n


def test_coordinates_of_angle_zero_are_the_same_bit_for_bit(key):
    x = ensemble(key, 20, jnp.float32)
    np.testing.assert_array_equal(rotate(key, x, 0.0), x)
    y = rotate(key, x, jnp.array([0.0, 1.0, 0.0]))
    np.testing.assert_array_equal(y[:, ::2], x[:, ::2])
    assert np.abs(y[:, 1] - x[:, 1]).max() > 0.1


def test_two_members_have_no_plane_to_turn_in(key):
    x = ensemble(key, 2, jnp.float32)
    np.testing.assert_array_equal(rotate(key, x, 1.0), x)


def test_an_outlier_is_shared_out(x64, key):
    x = jax.random.normal(key, (50, 1)).at[7].set(20.0)
    rotated = x
    for k in range(20):
        rotated = rotate(jax.random.key(k), rotated, 0.9)

    def kurtosis(v):
        v = v - v.mean()
        return float((v**4).mean() / (v**2).mean() ** 2)

    assert kurtosis(x) > 30 and kurtosis(rotated) < 5


def test_gradients_are_finite_and_those_of_a_linear_map(x64, key):
    x = ensemble(key, 12)

    def loss(x, angle):
        return jnp.sum(rotate(jax.random.key(1), x, angle) ** 3)

    for angle in (0.0, 0.9):
        slopes = jax.grad(loss, (0, 1))(x, jnp.asarray(angle))
        assert all(np.isfinite(np.asarray(s)).all() for s in slopes)
    step = 1e-6 * jax.random.normal(jax.random.key(2), x.shape)
    difference = loss(x + step, 0.9) - loss(x - step, 0.9)
    slope = jnp.sum(jax.grad(loss)(x, jnp.asarray(0.9)) * step)
    np.testing.assert_allclose(difference, 2 * slope, rtol=1e-6)


def test_the_rotated_transform_filter_has_the_same_moments(x64, key):
    x = ensemble(key, 30)
    observation = kd.GaussianObservation(kd.Select((0, 2)), 0.5)
    y = jnp.array([4.0, 6.0])
    plain, _ = kd.ETKF()(key, x, y, observation)
    rotated, info = kd.ETKF(rotation_angle=1.0)(key, x, y, observation)
    np.testing.assert_allclose(rotated.mean(axis=0), plain.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(np.cov(rotated.T), np.cov(plain.T), atol=1e-9)
    assert info.ok and np.abs(rotated - plain).max() > 0.05


def test_a_negative_angle_is_named():
    place = kd.Localisation([0.0], [0.0], 1.0)
    for scheme in (kd.ETKF, lambda **angle: kd.LETKF(place, **angle)):
        with pytest.raises(ValueError, match="rotation_angle: expected"):
            scheme(rotation_angle=-0.1)
    with pytest.raises(ValueError, match="rotation_angle: expected"):
        kd.LEnKPF(place, rotation_angle=-0.1)


@pytest.mark.parametrize("n", [10, 20, 40, 250])
def test_few_members_of_one_mode_are_not_taken_for_two(dtype, n):
    """One Gaussian ensemble in twenty fades: 4 standard errors, and a fifth for the formula."""
    rng = np.random.default_rng(n)
    fades = unimodal(jnp.asarray(rng.normal(size=(n, 4000)), dtype), (3.0, 5.0)) < 1
    assert jnp.mean(fades) < 0.06 + 4 * (0.05 / 4000) ** 0.5
    modes = np.sign(rng.normal(size=(n, 4000))) + 0.1 * rng.normal(size=(n, 4000))
    found = unimodal(jnp.asarray(modes, dtype), (3.0, 5.0))
    assert found.dtype == dtype and jnp.mean(found) < 0.01


def test_many_members_are_asked_as_they_are(x64):
    """The index by a loop over uniform coordinates of 400 members, which chance does not widen."""
    x = np.random.default_rng(0).uniform(size=(400, 50))
    expected = []
    for column in x.T:
        halves = [column[column > column.mean()], column[column <= column.mean()]]
        within = sum(len(h) * h.var() for h in halves) / 400
        expected.append(np.clip((3.5 - (column.var() - within) / within) / 1.0, 0, 1))
    assert np.std(expected) > 0
    np.testing.assert_allclose(unimodal(jnp.asarray(x), (2.5, 3.5)), expected, atol=1e-9)
