"""Liu and West's kernel: it keeps the mean and the variance of parameters, and moves members."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.analysis.liu_west import smoothed

OBSERVATION = kd.GaussianObservation(kd.Select([0]), 0.5)
Y = jnp.array([0.4])


@pytest.mark.parametrize("discount", [0.9, 0.98])
def test_mean_and_variance_stay_and_members_move_as_far_as_they_should(discount, key, x64):
    draw, kernel = jax.random.split(key)
    members = jnp.exp(jax.random.normal(draw, (400, 2))) * jnp.array([[1.0, 1e-6]])
    after = smoothed(kernel, members, discount)
    np.testing.assert_allclose(after.mean(axis=0), members.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(after.std(axis=0), members.std(axis=0), rtol=1e-12)
    a = (3 * discount - 1) / (2 * discount)
    kept = [np.corrcoef(members[:, k], after[:, k])[0, 1] for k in range(2)]
    np.testing.assert_allclose(kept, a, atol=4 * (1 - a**2) ** 0.5 / 400**0.5)


def test_many_steps_keep_a_bimodal_ensembles_variance_and_equal_members_part(key):
    members = jnp.repeat(jnp.array([[0.0], [1.0]]), 20, axis=0)
    after = members
    for each in jax.random.split(key, 50):
        after = smoothed(each, after, 0.95)
    np.testing.assert_allclose(after.mean(), 0.5, atol=1e-5)
    np.testing.assert_allclose(after.std(), 0.5, rtol=1e-4)
    assert len(np.unique(np.asarray(after))) == 40


def test_the_state_is_the_schemes_own_and_a_discount_of_one_changes_nothing(key):
    forecast = jax.random.normal(key, (30, 3))
    own = jax.random.split(key)[0]
    plain, _ = kd.EnKF()(own, forecast, Y, OBSERVATION)
    for discount, same in ((0.9, False), (1.0, True)):
        after, info = kd.LiuWest(kd.EnKF(), 1, discount)(key, forecast, Y, OBSERVATION)
        np.testing.assert_allclose(after[:, :2], plain[:, :2], atol=1e-5)
        assert np.allclose(after[:, 2], plain[:, 2], atol=1e-5) == same
        np.testing.assert_allclose(after.mean(axis=0), plain.mean(axis=0), atol=1e-5)
        assert info.ok
    missing, _ = kd.LiuWest(kd.EnKF(), 1)(key, forecast, jnp.array([jnp.nan]), OBSERVATION)
    np.testing.assert_array_equal(missing, forecast)


def test_one_certain_parameter_stays_certain(key):
    after = smoothed(key, jnp.full((10, 1), 3.0), 0.9)
    np.testing.assert_array_equal(after, 3.0)


def test_host_measurements_are_as_many_as_the_scheme_needs(key):
    seen = kd.HostObservation(lambda rng, x, t: x[:, :1] + 0.5 * rng.normal(size=(len(x), 1)))
    scheme = kd.LiuWest(kd.EnKF(), 1)
    model = kd.RandomWalk(0.1)
    members = jax.random.normal(key, (20, 2))
    result = kd.assimilate(key, model, seen, scheme, members, Y[None])
    assert result.info.ok.all()


def test_wrong_arguments_are_refused(key):
    with pytest.raises(TypeError, match="scheme: expected an object with `analyse`"):
        kd.LiuWest(3.0, 1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="num_parameters: expected at least 1, got 0"):
        kd.LiuWest(kd.EnKF(), 0)
    for discount in (0.3, 1.1, float("nan")):
        with pytest.raises(ValueError, match="discount: expected above 1/3 and at most 1"):
            kd.LiuWest(kd.EnKF(), 1, discount)
    with pytest.raises(ValueError, match=r"coordinates beside the parameters \(2\), got"):
        kd.LiuWest(kd.EnKF(), 2)(key, jnp.ones((4, 2)), Y, OBSERVATION)
