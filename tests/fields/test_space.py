"""Named fields: round trips, columns and names, models written on fields, positions, bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import kdediff_jax as kd
from kdediff_jax._tracing import refuse_mutable
from kdediff_jax.dynamics.propagate import takes_interval

LATS, LONS = [-30.0, 0.0, 30.0], [0.0, 90.0, 180.0, 270.0]
SPACE = kd.StateSpace(
    {
        "temperature": kd.Field({"lat": LATS, "lon": LONS}, units="K"),
        "depth": kd.Field({"lon": LONS}, units="m"),
        "forcing": kd.Field(units="W m-2"),
    }
)


def state(key, lead=()):
    shapes = {"temperature": (3, 4), "depth": (4,), "forcing": ()}
    keys = jax.random.split(key, 3)
    return {
        name: jax.random.normal(k, (*lead, *shape))
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


@pytest.mark.parametrize("lead", [(), (5,), (2, 5)])
def test_fields_come_back_bit_for_bit(lead, key, dtype):
    fields = jax.tree.map(lambda v: v.astype(dtype), state(key, lead))
    x = SPACE.ravel(fields)
    assert x.shape == (*lead, 17) and SPACE.size == 17 and x.dtype == dtype
    back = SPACE.unravel(x)
    assert tuple(back) == SPACE.names
    for name, values in fields.items():
        np.testing.assert_array_equal(back[name], values)


def test_a_pytree_is_laid_out_as_ravel_pytree_does(key):
    example = {"ocean": {"salt": jnp.ones((2, 3)), "heat": jnp.zeros(4)}, "air": (jnp.ones(()),)}
    space = kd.StateSpace.like(example)
    assert space.names == ("air.0", "ocean.heat", "ocean.salt")
    x = jax.random.normal(key, (space.size,))
    flat, unravel = ravel_pytree(example)
    np.testing.assert_array_equal(space.ravel(example), flat)
    for ours, theirs in zip(*map(jax.tree.leaves, (space.unravel(x), unravel(x))), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert jax.tree.structure(space.unravel(x)) == jax.tree.structure(example)
    assert space.label(8) == "ocean.salt[axis_0=1, axis_1=0]"


def test_columns_and_labels_speak_of_the_same_element(key):
    fields = state(key)
    x = SPACE.ravel(fields)
    (column,) = SPACE.columns("temperature", lat=30, lon=180.0)
    assert x[column] == fields["temperature"][2, 2]
    assert SPACE.label(column) == "temperature[lat=30, lon=180] (K)"
    assert SPACE.place(column) == ("temperature", {"lat": 30.0, "lon": 180.0})
    assert SPACE.label(16) == "forcing (W m-2)"
    row = SPACE.select("temperature", lat=0.0)
    np.testing.assert_array_equal(row(x), fields["temperature"][1])
    part = SPACE.select("temperature", lon=[270, 0], lat=[-30.0])
    np.testing.assert_array_equal(part(x), fields["temperature"][0, jnp.asarray([3, 0])])
    np.testing.assert_array_equal(SPACE.select("depth")(x), fields["depth"])
    assert len(set(SPACE.labels)) == 17
    for k, label in enumerate(SPACE.labels):
        name, at = SPACE.place(k)
        assert SPACE.columns(name, **at) == (k,) and label.startswith(name)


class Waves:
    """Tendency of two coupled fields, the same formula for both layouts."""

    @staticmethod
    def step(u, v, h):
        return u + h * (jnp.roll(v, 1, axis=-1) - v), v - h * jnp.sin(u)


class OnFields(kd.AbstractDynamics):
    interval: float = 0.1

    def step(self, key, x, t, interval=None):
        u, v = Waves.step(x["u"], x["v"], self.interval if interval is None else interval)
        return {"v": v, "u": u + 0.1 * jax.random.normal(key, u.shape, u.dtype)}


class OnVectors(kd.AbstractDynamics):
    interval: float = 0.1

    def step(self, key, x, t, interval=None):
        u, v = x[:6].reshape(2, 3), x[6:].reshape(2, 3)
        u, v = Waves.step(u, v, self.interval if interval is None else interval)
        u = u + 0.1 * jax.random.normal(key, u.shape, u.dtype)
        return jnp.concatenate([u.ravel(), v.ravel()])


def measured_fields(x):
    return x["u"][0] + x["v"][1]


def measured_vector(x):
    return x[:3] + x[9:]


class Rounded(kd.AbstractObservation):
    fields: bool

    def sample(self, key, x, t):
        value = measured_fields(x) if self.fields else measured_vector(x)
        return value + 0.3 * jax.random.laplace(key, value.shape, value.dtype)


@pytest.mark.parametrize("times", [None, [0.05, 0.3, 0.35, 0.7]], ids=["regular", "irregular"])
def test_a_model_of_fields_is_its_flat_copy_bit_for_bit(times, key):
    grid = kd.Field({"row": 2, "column": 3})
    space = kd.StateSpace({"u": grid, "v": grid})
    ensemble = jax.random.normal(key, (20, 12))
    assert takes_interval(space.dynamics(OnFields()))
    pairs = (
        (kd.GaussianObservation(space.operator(measured_fields), 0.5),
         kd.GaussianObservation(measured_vector, 0.5)),
        (space.observation(Rounded(True)), Rounded(False)),
    )  # fmt: skip
    for of_fields, of_vectors in pairs:
        _, ys = kd.twin_experiment(key, OnVectors(), of_vectors, ensemble[0], 4)
        runs = [
            kd.assimilate(key, dynamics, observation, kd.EnKF(), ensemble, ys, times=times)
            for dynamics, observation in (
                (space.dynamics(OnFields()), of_fields), (OnVectors(), of_vectors)
            )
        ]  # fmt: skip
        np.testing.assert_array_equal(runs[0].ensemble, runs[1].ensemble)
        np.testing.assert_array_equal(runs[0].mean, runs[1].mean)


def test_positions_are_the_coordinates():
    where = SPACE.positions(("lon",), range(16))
    np.testing.assert_array_equal(where[:, 0], [*LONS, *LONS, *LONS, *LONS])
    plane = SPACE.positions(("lon", "lat"), SPACE.columns("temperature", lat=30.0))
    np.testing.assert_array_equal(plane, [[lon, 30.0] for lon in LONS])


def test_a_localisation_knows_the_circle_and_what_has_no_place():
    seen = SPACE.columns("depth", lon=[0.0, 270.0])
    where = SPACE.localisation(("lon",), seen, 60.0, period=360.0)
    taper = where.taper(17, 2, jnp.float32)
    by_hand = kd.Localisation(LONS, [0.0, 270.0], 60.0, 360.0).taper(4, 2, jnp.float32)
    np.testing.assert_array_equal(taper[:16], np.tile(by_hand, (4, 1)))
    np.testing.assert_array_equal(taper[16], [1.0, 1.0])


def test_spaces_are_compared_by_value_and_hold_no_array():
    again = kd.StateSpace(dict(zip(SPACE.names, SPACE.fields, strict=True)))
    assert jax.tree.leaves(SPACE) == [] and jax.tree.structure(again) == jax.tree.structure(SPACE)
    assert hash(jax.tree.structure(SPACE)) == hash(jax.tree.structure(again))
    # nothing in it can change behind a compiled program
    for space in (SPACE, kd.StateSpace.like({"u": jnp.ones(3)})):
        refuse_mutable(space.dynamics(OnFields()), space.observation(Rounded(True)))


EXAMPLE = {"a": jnp.ones(2)}
BAD = [
    (lambda: kd.StateSpace({}), ValueError, "at least one"),
    (lambda: kd.StateSpace({"t": 3}), TypeError, "expected Field by name"),
    (lambda: kd.StateSpace([kd.Field()]), TypeError, "expected a dict"),
    (lambda: kd.Field(["lat"]), TypeError, "dims: expected a dict"),
    (lambda: kd.Field({"a b": 3}), TypeError, "identifiers"),
    (lambda: kd.Field(units=3), TypeError, "units: expected a string"),
    (lambda: kd.Field({"lat": []}), ValueError, "lat: expected a size or a vector"),
    (lambda: kd.Field({"lat": 0}), ValueError, "lat: expected a size"),
    (lambda: kd.Field({"lat": ["a", "b"]}), ValueError, "numbers"),
    (lambda: kd.Field({"lat": [1.0, 1.0]}), ValueError, "that differ"),
    (lambda: kd.Field({"lat": [1.0, np.nan]}), ValueError, "finite"),
    (lambda: SPACE["temprature"], ValueError, "did you mean 'temperature'"),
    (lambda: SPACE.columns("temperature", lot=3.0), ValueError, "dimension"),
    (lambda: SPACE.columns("temperature", lat=3.0), ValueError, "the nearest is 0"),
    (lambda: SPACE.place(17), ValueError, "from 0 to 16"),
    (lambda: SPACE.unravel(jnp.ones(16)), ValueError, "17 coordinates"),
    (lambda: SPACE.ravel(EXAMPLE), ValueError, "expected the fields"),
    (lambda: SPACE.ravel(jnp.ones(17)), ValueError, "expected the fields"),
    (
        lambda: SPACE.ravel(
            {"temperature": jnp.ones((3, 4)), "depth": jnp.ones(3), "forcing": jnp.ones(())}
        ),
        ValueError,
        r"depth: expected shape \(4,\), got \(3,\)",
    ),
    (lambda: kd.StateSpace.like({}), ValueError, "at least one"),
    (lambda: kd.StateSpace.like({"a": 3}), TypeError, "a: expected"),
    (lambda: kd.StateSpace.like(EXAMPLE).ravel({"b": jnp.ones(2)}), ValueError, "expected PyTree"),
    (lambda: SPACE.positions(("lat",)), ValueError, "expected dimensions of depth"),
    (lambda: SPACE.localisation(("lat", "lon"), [0], 1.0), ValueError, "dimensions of depth"),
]


@pytest.mark.parametrize(("build", "error", "message"), BAD)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
