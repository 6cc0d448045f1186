"""Covariance localisation: the taper, distances on rings and in planes, bad input."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.ensemble.neighbours import Neighbourhoods, Neighbours, reach
from kdediff_jax.ensemble.taper import gaspari_cohn


def test_a_domain_may_be_periodic_along_one_axis_alone():
    places = np.array([[0.0, 0.0], [359.0, 0.0], [0.0, 179.0], [359.0, 179.0]])
    taper = kd.Localisation(places, places, 2.0, period=(360, None)).taper(4, 4, jnp.float32)
    near = gaspari_cohn(jnp.float32(0.5 / (10 / 3) ** 0.5))
    np.testing.assert_allclose(taper[0], [1, near, 0, 0], atol=1e-6)
    np.testing.assert_allclose(taper, np.transpose(taper), atol=1e-6)


def test_gaspari_cohn_is_a_smooth_taper(x64):
    r = jnp.linspace(0.0, 3.0, 3001)
    taper = gaspari_cohn(r)
    assert float(taper[0]) == 1 and np.all(np.diff(taper) <= 1e-15)
    assert np.all(np.asarray(taper[r >= 2]) == 0)
    # twice differentiable at the seam, and half-width sqrt(0.3) of the Gaussian that it follows
    slope = jnp.gradient(taper, r[1])
    assert np.abs(np.diff(slope)).max() < 3.4e-3  # the second derivative is at most 10/3
    np.testing.assert_allclose(taper, np.exp(-0.5 * r**2 * 10 / 3), atol=0.06)


def test_taper_knows_a_ring_and_a_plane():
    sites = np.arange(8.0)
    taper = kd.Localisation(sites, sites[::2], 1.0, period=8.0).taper(8, 4, jnp.float32)
    np.testing.assert_allclose(taper[7, 0], taper[1, 0])
    np.testing.assert_allclose(taper[0, 0], 1)
    plane = np.stack([sites, sites], axis=1)
    far = kd.Localisation(plane, plane[:1], 1.0).taper(8, 1, jnp.float32)
    np.testing.assert_allclose(far[1, 0], gaspari_cohn(jnp.asarray(0.6**0.5)), rtol=1e-5)


def test_among_state_is_the_taper_of_a_measurement_at_every_coordinate():
    sites = np.array([0.0, 0.3, 2.0])
    among = kd.Localisation(sites, [7.0], 0.5).among_state(3, jnp.float32)
    expected = kd.Localisation(sites, sites, 0.5).taper(3, 3, jnp.float32)
    np.testing.assert_array_equal(among, expected)


def test_reach_is_that_of_measured_components_alone():
    taper = jnp.asarray([[1.0, 0.2], [0.3, 0.5]])
    for group in (Neighbours(taper), Neighbours(taper[:, ::-1], jnp.asarray([[1, 0], [1, 0]]))):
        for measured, wanted in (
            ([True, True], [1.0, 0.5]), ([False, True], [0.2, 0.5]), ([False, False], [0.0, 0.0])
        ):  # fmt: skip
            np.testing.assert_allclose(
                reach(Neighbourhoods((group,)), jnp.asarray(measured)), wanted
            )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.Localisation([0.0], [0.0], 0.0), "radius"),
        (lambda: kd.Localisation([0.0], [[0.0, 1.0]], 1.0), "positions"),
        (lambda: kd.Localisation([0.0], [0.0], 1.0, period=-1.0), "period"),
        (lambda: kd.Localisation(0.0, [0.0], 1.0, period=1.0), "positions: expected shapes"),
        (
            lambda: kd.Localisation(np.zeros((2, 2)), np.zeros((1, 2)), 1.0, [1.0, 2.0, 3.0]),
            r"period: expected a scalar or shape \(2,\), got \(3,\)",
        ),
        (
            lambda: kd.LETKF(
                kd.Localisation(np.zeros((9, 2)), np.zeros((2, 2)), [1.0, 2.0])
            ).localisation.taper(9, 2, jnp.float32),
            r"radius: expected one number, got shape \(2,\)",
        ),
        (
            lambda: kd.Localisation([0.0], [0.0], 1.0).taper(2, 1, jnp.float32),
            "expected positions of 2 coordinates and 1 measurement, got 1 and 1",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
