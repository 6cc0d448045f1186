"""Coordinates that have no place in a localisation: parameters of the model."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

SITES = np.arange(12.0)
OBSERVATION = kd.GaussianObservation(kd.Select(range(0, 12, 3)), 1.0)


def localisation(radius, **kwargs):
    return kd.Localisation(SITES, SITES[::3], radius, period=12.0, **kwargs)


@pytest.fixture
def forecast(key):
    """A field with neighbours alike, and two parameters related to all of it."""
    z = jax.random.normal(key, (30, 14))
    field = z[:, :12] + jnp.roll(z[:, :12], 1, axis=1) + z[:, 12:13]
    return jnp.concatenate([field, z[:, 12:] + 0.2 * z[:, :2]], axis=1)


AUGMENTED = kd.Augmentation({"a": kd.Parameter(0.0, 1.0), "b": kd.Parameter(0.0, 1.0)})


def test_they_are_updated_as_without_a_localisation(forecast, key, x64):
    """The update of LETKF is the ETKF's, at any radius; that of the field is local."""
    forecast = forecast.astype(jnp.float64)
    y = jnp.asarray([1.0, -2.0, 0.5, 3.0])
    where = AUGMENTED.localisation(localisation(1.0))
    observation = AUGMENTED.observation(OBSERVATION)
    everywhere, _ = kd.ETKF(inflation=1.0)(key, forecast, y, observation)
    local, info = kd.LETKF(where, inflation=1.0)(key, forecast, y, observation)
    assert bool(info.ok)
    np.testing.assert_allclose(local[:, 12:], everywhere[:, 12:], rtol=1e-8, atol=1e-8)
    assert np.abs(local[:, :12] - everywhere[:, :12]).max() > 0.1
    # and the field's is what it is without the parameters
    alone, _ = kd.LETKF(localisation(1.0), inflation=1.0)(key, forecast[:, :12], y, OBSERVATION)
    np.testing.assert_allclose(local[:, :12], alone, rtol=1e-8, atol=1e-8)


FIXED = {
    "inflation": 1.0,
    "spread_correction": kd.FieldSpreadCorrection(log_spread_std=0.0),
}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_particle_filter_updates_them_as_with_an_infinite_radius(share, forecast, key, x64):
    """Gain alone, or weights alone: between the two, weights are those of the moved field."""
    forecast = forecast.astype(jnp.float64)
    y = jnp.asarray([1.0, -2.0, 0.5, 3.0])
    observation = AUGMENTED.observation(OBSERVATION)
    near, far = (
        kd.LEnKPF(AUGMENTED.localisation(localisation(radius)), kalman_share=share, **FIXED)(
            key, forecast, y, observation
        )[0]
        for radius in (1.0, 1e6)
    )
    np.testing.assert_allclose(near[:, 12:], far[:, 12:], rtol=1e-7, atol=1e-7)
    assert np.abs(near[:, :12] - far[:, :12]).max() > 0.1


def test_a_weight_of_zero_leaves_them_alone(forecast, key):
    y = jnp.asarray([1.0, -2.0, 0.5, 3.0])
    where = AUGMENTED.localisation(localisation(1.0), weight=0.0)
    observation = AUGMENTED.observation(OBSERVATION)
    moved, info = kd.LETKF(where)(key, forecast, y, observation)
    assert bool(info.ok)
    np.testing.assert_allclose(moved[:, 12:], forecast[:, 12:], atol=2e-5)


def test_their_taper_is_their_weight_and_the_others_keep_theirs():
    plain, where = localisation(2.0), localisation(2.0, placeless=(1.0, 0.5))

    @eqx.filter_jit
    def tapers(where, d):
        return where.taper(d, 4, jnp.float32), where.among_state(d, jnp.float32)

    (taper, among), (placed, among_placed) = tapers(where, 14), tapers(plain, 12)
    np.testing.assert_array_equal(taper[:12], placed)
    np.testing.assert_array_equal(taper[12:], np.broadcast_to([[1.0], [0.5]], (2, 4)))
    np.testing.assert_array_equal(among[:12, :12], among_placed)
    np.testing.assert_array_equal(among, among.T)
    np.testing.assert_array_equal(np.diagonal(among), 1)
    np.testing.assert_array_equal(among[12, :12], 1)
    np.testing.assert_array_equal(among[13, :13], 0.5)


def test_parameters_are_put_behind_those_already_there():
    once = AUGMENTED.localisation(localisation(2.0), weight=[1.0, 0.25])
    np.testing.assert_array_equal(once.placeless, [1.0, 0.25])
    twice = AUGMENTED.localisation(once)
    np.testing.assert_array_equal(twice.placeless, [1.0, 0.25, 1.0, 1.0])
    assert float(twice.radius) == 2.0 and float(twice.period) == 12.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: localisation(1.0, placeless=1.0), "placeless: expected one weight"),
        (lambda: localisation(1.0, placeless=(1.5,)), "placeless: expected weights from 0 to 1"),
        (lambda: localisation(1.0, placeless=(-0.5,)), "from 0 to 1"),
        (
            lambda: localisation(1.0, placeless=(1.0,)).taper(12, 4, jnp.float32),
            "expected positions of 12 coordinates and 4 measurements, got 13, of which 1 without a "
            "place, and 4",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
