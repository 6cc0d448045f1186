"""State and parameters together: the layout, the way back, the model and the measurement."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.dynamics.propagate import takes_interval

MODEL = kd.Lorenz63(interval=0.1, noise_std=0.3)
OBSERVATION = kd.GaussianObservation(kd.Identity(), 1.0)


def rho(std=2.0, **kwargs):
    return kd.Augmentation({"rho": kd.Parameter(26.0, std, kd.Positive(), **kwargs)})


class Carried(kd.AbstractDynamics):
    """Linear decay of three concentrations, with a matrix of rates, whole intervals only."""

    rates: jax.Array
    interval: float = 0.5

    def step(self, key, x, t):
        return x * jnp.exp(-self.interval * self.rates.sum(axis=0))


def carried(parameters):
    return Carried(parameters["rates"] * parameters["factor"])


def test_a_parameter_that_is_certain_changes_nothing(key):
    """Without spread the augmented run is the plain one, cycle by cycle."""
    members = jax.random.normal(key, (20, 3))
    _, ys = kd.twin_experiment(key, MODEL, OBSERVATION, members[0], 6)
    where = kd.Augmentation({"rho": kd.Parameter(28.0, 0.0)})
    plain = kd.assimilate(key, MODEL, OBSERVATION, kd.ETKF(), members, ys)
    both = kd.assimilate(
        key, where.dynamics(MODEL), where.observation(OBSERVATION), kd.ETKF(),
        where.ensemble(key, members), ys,
    )  # fmt: skip
    parts = where.split(both.mean)
    np.testing.assert_allclose(parts.state, plain.mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(parts.parameters["rho"], 28.0)


def test_a_member_moves_by_its_own_parameters(key, dtype):
    x = jnp.asarray([1.0, -2.0, 20.0], dtype)
    where = rho()
    for value in (20.0, 35.0):
        vector = where.join(x, {"rho": value})
        moved = where.split(where.dynamics(MODEL).step(key, vector, 0.0))
        expected = kd.Lorenz63(rho=value, interval=0.1, noise_std=0.3).step(key, x, 0.0)
        np.testing.assert_allclose(moved.state, expected, rtol=2e-5)
        np.testing.assert_allclose(moved.parameters["rho"], value, rtol=1e-5)
        assert vector.dtype == moved.state.dtype == dtype


def test_split_undoes_join_and_keeps_names_and_shapes(key, x64):
    state = kd.Blocks((kd.Positive(), 2), (kd.Interval(0.0, 5.0), 1))
    parameters = {
        "rates": kd.Parameter(0.5 * jnp.ones((2, 3)), 0.1, kd.Positive()),
        "factor": kd.Parameter(0.5, 0.1, kd.Interval()),
    }
    where = kd.Augmentation(parameters, state=state)
    assert where.num_parameters == 7
    value = {"rates": jax.random.uniform(key, (2, 3)) + 0.1, "factor": jnp.asarray(0.25)}
    x = jnp.asarray([0.5, 30.0, 4.5])
    parts = where.split(where.join(x, value))
    np.testing.assert_allclose(parts.state, x)
    assert list(parts.parameters) == ["rates", "factor"]
    for name in value:
        np.testing.assert_allclose(parts.parameters[name], value[name])
    ensemble = where.ensemble(key, jnp.broadcast_to(x, (5, 3)) + jnp.zeros((5, 1)))
    whole = where.split(jnp.broadcast_to(ensemble, (4, 5, 10)))
    assert whole.state.shape == (4, 5, 3) and whole.parameters["rates"].shape == (4, 5, 2, 3)
    np.testing.assert_allclose(whole.state, jnp.broadcast_to(x, (4, 5, 3)))
    # quantiles of coordinates are quantiles of values
    members = where.split(ensemble).parameters["factor"]
    quantile = where.split(jnp.quantile(ensemble, 0.25, axis=0)).parameters["factor"]
    np.testing.assert_allclose(quantile, jnp.quantile(members, 0.25), rtol=1e-3)


def test_initial_members_have_the_spread_that_was_asked_for(key, x64):
    transforms = (kd.Unbounded(), kd.Positive(), kd.Softplus(10.0), kd.Interval(20.0, 30.0))
    for transform in transforms:
        where = kd.Augmentation({"rho": kd.Parameter(26.0, 0.1, transform)})
        ensemble = where.ensemble(key, jax.random.normal(key, (40_000, 3)))
        members = where.split(ensemble).parameters["rho"]
        # to first order in std / 26, the standard errors being 1/200 and 1/280 of it
        np.testing.assert_allclose(jnp.mean(members), 26.0, atol=0.003)
        np.testing.assert_allclose(jnp.std(members), 0.1, rtol=0.02)


def test_the_walk_has_its_standard_deviation_whatever_the_parts(key, x64):
    where = kd.Augmentation({"rho": kd.Parameter(26.0, 0.0, walk_std=0.2)})
    dynamics = where.dynamics(MODEL)
    start = where.join(jnp.ones(3), {"rho": 26.0})

    def walked(key, parts):
        x, length = start, jnp.asarray(0.1 / parts)
        for k in jax.random.split(key, parts):
            x = dynamics.step(k, x, 0.0, interval=length)
        return x[3]

    keys = jax.random.split(key, 4000)
    for parts in (1, 3):
        ends = jax.vmap(lambda k, p=parts: walked(k, p))(keys)
        np.testing.assert_allclose(jnp.std(ends), 0.2, rtol=4 / 8000**0.5)
        np.testing.assert_allclose(jnp.mean(ends), 26.0, atol=4 * 0.2 / 4000**0.5)
    whole = jax.vmap(lambda k: dynamics.step(k, start, 0.0)[3])(keys)
    np.testing.assert_allclose(jnp.std(whole), 0.2, rtol=4 / 8000**0.5)


def test_an_interval_is_passed_on_where_the_model_takes_one(key):
    where = kd.Augmentation(
        {"rates": kd.Parameter(jnp.ones((2, 3)), 0.1), "factor": kd.Parameter(1.0, 0.0)}
    )
    assert takes_interval(rho().dynamics(MODEL))
    fixed = where.dynamics(carried)
    assert not takes_interval(fixed) and fixed.interval == 0.5
    members = jax.random.uniform(key, (10, 3)) + 1
    _, ys = kd.twin_experiment(key, MODEL, OBSERVATION, members[0], times=[0.04, 0.33])
    irregular = kd.assimilate(
        key, rho().dynamics(MODEL), rho().observation(OBSERVATION), kd.EnKF(),
        rho().ensemble(key, members), ys, times=[0.04, 0.33],
    )  # fmt: skip
    np.testing.assert_allclose(irregular.state.t, 0.33, rtol=1e-6)
    with pytest.raises(ValueError, match="multiple"):
        kd.assimilate(
            key, fixed, where.observation(OBSERVATION), kd.EnKF(), where.ensemble(key, members),
            ys, times=[0.04, 0.33],
        )  # fmt: skip


def test_a_function_of_the_parameters_makes_the_model(key, x64):
    where = kd.Augmentation(
        {"rates": kd.Parameter(jnp.ones((2, 3)), 0.1), "factor": kd.Parameter(2.0, 0.1)}
    )
    value = {"rates": jnp.arange(6.0).reshape(2, 3), "factor": 0.5}
    moved = where.dynamics(carried).step(key, where.join(jnp.ones(3), value), 0.0)
    expected = np.exp(-0.5 * 0.5 * np.asarray([3.0, 5.0, 7.0]))
    np.testing.assert_allclose(where.split(moved).state, expected)


def test_a_bounded_state_stays_bounded_under_a_kalman_gain(key):
    """A decaying concentration measured with large errors: a plain EnKF leaves the bounds."""
    model = kd.Augmentation(state=kd.Positive())
    decay = Carried(jnp.full((1, 3), 0.2))
    members = jnp.exp(jax.random.normal(key, (50, 3)))
    ys = jnp.zeros((4, 3)) - 1.0
    plain = kd.assimilate(key, decay, OBSERVATION, kd.EnKF(), members, ys)
    assert jnp.min(plain.ensemble) < 0
    bounded = kd.assimilate(
        key, model.dynamics(decay), model.observation(OBSERVATION), kd.EnKF(),
        model.ensemble(key, members), ys,
    ).raise_if_failed()  # fmt: skip
    values = model.split(bounded.ensemble).state
    assert jnp.min(values) > 0 and jnp.max(values) < 5


class Turning(kd.AbstractDynamics):
    """An angle in degrees in [0, 360) that turns by its speed."""

    speed: float = 70.0
    interval: float = 1.0

    def step(self, key, x, t):
        return jnp.mod(x + self.speed, 360.0)


def compass(x):
    return jnp.concatenate([jnp.cos(jnp.deg2rad(x)), jnp.sin(jnp.deg2rad(x))])


def test_an_angle_and_its_speed_are_found_across_many_turns(key):
    where = kd.Augmentation({"speed": kd.Parameter(65.0, 5.0)}, state=kd.Angle(360.0))
    observation = kd.GaussianObservation(compass, 0.05)
    truth, ys = kd.twin_experiment(key, Turning(73.0), observation, jnp.asarray([359.0]), 30)
    start = jnp.mod(359.0 + 10 * jax.random.normal(key, (50, 1)), 360.0)
    ensemble = where.ensemble(key, start)
    assert float(jnp.std(ensemble[:, 0])) < 15  # though the values lie at both ends
    result = kd.assimilate(
        key, where.dynamics(Turning()), where.observation(observation), kd.EnKF(), ensemble, ys
    ).raise_if_failed()
    parts = where.split(result.mean)
    assert abs(float(parts.parameters["speed"][-1]) - 73) < 1
    error = kd.Angle(360.0).difference(parts.state, truth)
    assert float(jnp.max(jnp.abs(error[10:]))) < 5
    assert float(result.mean[-1, 0]) > 5 * 360  # unwrapped


class Speed(kd.AbstractObservation):
    def sample(self, key, x, t):
        return jnp.linalg.norm(x)[None] * jax.random.exponential(key, (1,), x.dtype)


class SpeedDensity(kd.AbstractLikelihood):
    def sample(self, key, x, t):
        return x[:1] + jax.random.normal(key, (1,), x.dtype)

    def log_likelihood(self, y, x, t):
        return -0.5 * jnp.sum((y - x[:1]) ** 2)


class Stated(kd.AbstractAdditive):
    gaussian: ClassVar[bool] = True

    def mean(self, x, t):
        return x[:2]

    def covariance(self, m, dtype, t):
        return jnp.asarray([[1.0, 0.5], [0.5, 1.0]], dtype)

    def sample(self, key, x, t):
        return x[:2]

    def log_likelihood(self, y, x, t):
        return jnp.sum(y - x[:2])


@pytest.mark.parametrize(
    "observation",
    [OBSERVATION, kd.LaplaceObservation(kd.Select([2]), 0.5), Speed(), SpeedDensity(), Stated()],
    ids=lambda o: type(o).__name__,
)
def test_an_observation_keeps_its_kind_and_sees_the_state_alone(observation, key):
    where = kd.Augmentation({"rho": kd.Parameter(26.0, 2.0)}, state=kd.Positive())
    x = jnp.asarray([1.0, 2.0, 3.0])
    vector = where.join(x, {"rho": 20.0})
    seen = where.observation(observation)
    for kind in (kd.AbstractLikelihood, kd.AbstractAdditive, kd.AbstractAdditiveNoise):
        assert isinstance(seen, kind) == isinstance(observation, kind)
    np.testing.assert_allclose(seen.sample(key, vector, 0.0), observation.sample(key, x, 0.0))
    if isinstance(observation, kd.AbstractLikelihood):
        y = observation.sample(key, x, 0.0)
        found = seen.log_likelihood(y, vector, 0.0)
        np.testing.assert_allclose(found, observation.log_likelihood(y, x, 0.0), rtol=1e-5)
    if isinstance(observation, kd.AbstractAdditive):
        assert seen.gaussian == observation.gaussian
        m = observation.mean(x, 0.0).shape[0]
        np.testing.assert_array_equal(
            seen.covariance(m, x.dtype, 0.0), observation.covariance(m, x.dtype, 0.0)
        )
        np.testing.assert_allclose(seen.mean(vector, 0.0), observation.mean(x, 0.0))


def test_another_guess_compiles_nothing(key):
    traced = []

    @eqx.filter_jit
    def step(dynamics, x):
        traced.append(None)
        return dynamics.step(key, x, 0.0)

    for guess in (20.0, 30.0):
        where = kd.Augmentation({"rho": kd.Parameter(guess, 1.0, kd.Positive(), walk_std=0.1)})
        step(where.dynamics(MODEL), jnp.ones(4))
    assert len(traced) == 1


BAD = [
    (lambda: kd.Augmentation(), ValueError, "at least one, or a transform"),
    (lambda: kd.Augmentation({"rho": 3.0}), TypeError, "expected Parameter by name"),
    (lambda: kd.Augmentation([kd.Parameter(1.0, 1.0)]), TypeError, "expected a dict"),
    (lambda: kd.Augmentation(state="log"), TypeError, "state: expected a transform"),
    (lambda: kd.Parameter(1.0, -1.0), ValueError, "std"),
    (lambda: kd.Parameter(1.0, 1.0, walk_std=-1.0), ValueError, "walk_std"),
    (lambda: kd.Parameter(1.0, [1.0, 2.0]), ValueError, "std: expected a number or shape"),
    (lambda: kd.Parameter(float("nan"), 1.0), ValueError, "guess: expected finite"),
    (lambda: kd.Parameter(-1.0, 1.0, kd.Positive()), ValueError, "within Positive"),
    (lambda: kd.Parameter(1.0, 0.1, kd.Interval()), ValueError, "within Interval"),
    (lambda: kd.Parameter([0.5, 0.0], 0.1, kd.Interval()), ValueError, "within Interval"),
    (lambda: kd.Parameter(0.0, 0.1, kd.Softplus()), ValueError, "within Softplus"),
    (lambda: kd.Parameter(1.0, 1.0, "log"), TypeError, "transform"),
    (lambda: rho().dynamics(kd.Lorenz96()), ValueError, "rho"),
    (lambda: kd.Augmentation({"substeps": kd.Parameter(1.0, 1.0)}).dynamics(MODEL), ValueError,
     "substeps: expected a number"),
    (lambda: kd.Augmentation({"rho": kd.Parameter([1.0, 2.0], 1.0)}).dynamics(MODEL), ValueError,
     "rho: expected the shape"),
    (lambda: rho().dynamics(3.0), TypeError, "model: expected dynamics"),
    (lambda: rho().dynamics(lambda p: p["rho"]), TypeError, "step"),
    (lambda: rho().observation(3.0), TypeError, "sample"),
    (lambda: rho().split(jnp.ones((4, 1))), ValueError, "x: expected coordinates"),
    (lambda: rho().join(jnp.ones(3), {"sigma": 1.0}), ValueError, "parameters: expected"),
    (lambda: rho().join(jnp.ones(3), {"rho": jnp.ones(2)}), ValueError, r"expected shape \(\)"),
    (lambda: rho().ensemble(jax.random.key(0), jnp.ones((1, 3))), ValueError, "members"),
    (lambda: rho().localisation("all"), TypeError, "localisation"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "error", "message"), BAD)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
