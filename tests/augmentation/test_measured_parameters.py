"""Parameters that enter the measurement: an offset, a gain, the size of the noise."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

MODEL = kd.LinearGaussian(0.8 * np.eye(2, dtype="float32"), 0.6)
T0 = jnp.zeros(())


class Offset(kd.AbstractAdditive):
    """The first coordinate and an offset, which is no field of an operator."""

    offset: jax.Array
    gaussian: ClassVar[bool] = True

    def mean(self, x, t):
        return x[:1] + self.offset

    def covariance(self, m, dtype, t):
        return 0.25 * jnp.eye(m, dtype=dtype)

    def sample(self, key, x, t):
        return self.mean(x, t) + 0.5 * jax.random.normal(key, (1,), x.dtype)

    def log_likelihood(self, y, x, t):
        return kd.GaussianObservation(lambda x: self.mean(x, t), 0.5).log_likelihood(y, x, t)


class Shifted(eqx.Module):
    """Gain times the first coordinate, and an offset."""

    gain: jax.Array
    offset: jax.Array

    def __call__(self, x):
        return self.gain * x[:1] + self.offset


def same_model(parameters):
    return MODEL


def with_offset(parameters):
    return kd.GaussianObservation(Shifted(jnp.ones(()), parameters["offset"]), 0.5)


def with_gain(parameters):
    return kd.GaussianObservation(Shifted(parameters["gain"], jnp.zeros(())), 0.5)


def with_noise(parameters):
    return kd.GaussianObservation(kd.Select([0]), parameters["noise"])


def other_noise(parameters):
    return kd.LaplaceObservation(Shifted(jnp.ones(()), parameters["offset"]), 0.5)


def own_class(parameters):
    return Offset(parameters["offset"])


OFFSET = kd.Augmentation({"offset": kd.Parameter(0.0, 2.0)})
GAIN = kd.Augmentation({"gain": kd.Parameter(1.0, 0.5, kd.Positive())})
NOISE = kd.Augmentation({"noise": kd.Parameter(1.0, 0.8, kd.Positive())})


@pytest.mark.parametrize("make", [with_offset, other_noise, own_class])
def test_a_member_measures_with_its_own_parameter(make, key):
    x, y = jnp.array([0.3, -1.0]), jnp.array([0.7])
    vector = OFFSET.join(x, {"offset": 1.5})
    seen, own = OFFSET.observation(make), make({"offset": jnp.asarray(1.5)})
    np.testing.assert_allclose(seen.sample(key, vector, T0), own.sample(key, x, T0), rtol=1e-6)
    here = seen.log_likelihood(y, vector, T0)
    np.testing.assert_allclose(here, own.log_likelihood(y, x, T0), rtol=1e-5)


def test_the_kind_stays_where_all_members_have_one_noise():
    kinds = [
        (OFFSET.observation(with_offset), True, True),
        (OFFSET.observation(other_noise), True, False),
        (NOISE.observation(with_noise), False, None),
        (OFFSET.observation(own_class), False, None),  # nobody knows that it is one
    ]
    for seen, additive, gaussian in kinds:
        assert isinstance(seen, kd.AbstractLikelihood)
        assert isinstance(seen, kd.AbstractAdditive) == additive
        assert getattr(seen, "gaussian", None) == gaussian
    draws = OFFSET.observation(lambda parameters: Draws(parameters["offset"]))
    assert not isinstance(draws, kd.AbstractLikelihood)


class Draws(kd.AbstractObservation):
    """A simulator without a density."""

    offset: jax.Array

    def sample(self, key, x, t):
        return x[:1] + self.offset + 0.5 * jax.random.normal(key, (1,), x.dtype)


def filtered(analysis, where, make, truth, key, cycles=60, members=400):
    """Return the parameter's members at every cycle [t n], and the measurements."""
    twin, draw, run = jax.random.split(key, 3)
    _, ys = kd.twin_experiment(twin, MODEL, make(truth), jnp.zeros(2), cycles)
    start, more = jax.random.split(draw)
    states = jax.random.normal(start, (members, 2))
    result = kd.assimilate(
        run, where.dynamics(same_model), where.observation(make), analysis,
        where.ensemble(more, states), ys, save=kd.save_ensembles,
    ).raise_if_failed()  # fmt: skip
    (values,) = where.split(result.saved).parameters.values()
    return values, ys


def test_an_offset_has_the_exact_posterior(key):
    """The offset as a third coordinate of a linear model: the Kalman filter is exact."""
    truth, members = {"offset": jnp.asarray(1.5)}, 4000
    values, ys = filtered(kd.EnKF(), OFFSET, with_offset, truth, key, members=members)
    matrix, noise = np.diag([0.8, 0.8, 1.0]), np.diag([0.36, 0.36, 0.0])
    mean, covariance, h = np.zeros(3), np.diag([1.0, 1.0, 4.0]), np.array([[1.0, 0.0, 1.0]])
    for y in np.asarray(ys, float):
        mean, covariance = matrix @ mean, matrix @ covariance @ matrix.T + noise
        gain = covariance @ h.T / (h @ covariance @ h.T + 0.25)
        mean = mean + gain @ (y - h @ mean)
        covariance = covariance - gain @ h @ covariance
    spread = covariance[2, 2] ** 0.5
    last = np.asarray(values[-1])
    # of a constant the errors of sampling, 1 / N of its variance in each cycle, add up
    error = (len(ys) / members) ** 0.5
    assert abs(last.mean() - mean[2]) < 3 * error * spread
    assert abs(last.std(ddof=1) / spread - 1) < 3 * error
    assert abs(mean[2] - 1.5) < 3 * spread


def test_a_gain_is_found(key):
    values, _ = filtered(kd.EnKF(), GAIN, with_gain, {"gain": jnp.asarray(1.6)}, key)
    last = np.asarray(values[-1])
    assert (last > 0).all()
    assert abs(last.mean() - 1.6) < 3 * last.std() and last.std() < 0.4


def test_the_size_of_the_noise_is_found_by_weights(key):
    """A Kalman gain learns nothing of a variance; weights do."""
    walking = kd.Augmentation({"noise": kd.Parameter(1.0, 0.8, kd.Positive(), walk_std=0.03)})
    truth = {"noise": jnp.asarray(0.3)}
    values, _ = filtered(kd.SIR(jitter=0.05), walking, with_noise, truth, key, members=2000)
    last = np.asarray(values[-1])
    assert abs(last.mean() - 0.3) < 3 * last.std() and last.mean() < 0.7


def test_wrong_functions_are_refused():
    with pytest.raises(TypeError, match="observation: expected an object with `sample`"):
        OFFSET.observation(lambda parameters: 3.0)  # pyright: ignore[reportArgumentType]
