"""Lists of neighbours: the same weights and analyses as tables of all distances, and bad input."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd

RING = np.arange(60.0)
PLANE = np.stack(np.meshgrid(np.arange(20.0), np.arange(9.0)), axis=-1).reshape(-1, 2)
SCATTERED = np.random.default_rng(0).uniform(0, 30, (150, 2))
PLACES = {
    "ring": (RING, RING, 1.0, 60.0),
    "ring, some measured": (RING, RING[::3] + 0.25, 1.5, 60.0),
    "line": (RING, RING[5:], 1.0, None),
    "plane, one axis periodic": (PLANE, PLANE[::2], 0.7, (20.0, None)),
    "two fields on one grid": (np.concatenate([PLANE, PLANE]), PLANE, 0.8, (20.0, 9.0)),
    "space": (np.indices((6, 5, 4)).reshape(3, -1).T, SCATTERED @ np.eye(2, 3), 0.8, None),
    "scattered": (SCATTERED, SCATTERED[:120] + 0.1, 1.2, None),
    "positions outside of the period": (RING - 100, RING + 240, 1.0, 60.0),
}


def scattered_back(near, m):
    """Return lists of weights as one table."""
    tables = []
    for group in near.groups:
        if group.indices is None:
            tables.append(np.asarray(group.weights))
            continue
        table = np.zeros((group.weights.shape[0], m))
        rows = np.arange(table.shape[0])[:, None]
        np.add.at(table, (rows, np.asarray(group.indices)), np.asarray(group.weights))
        tables.append(table)
    return np.concatenate(tables)


def with_localisation(scheme, where):
    """Return a filter that keeps to tables, or whose radius has changed: it makes no lists anew."""
    return eqx.tree_at(
        lambda f: f.localisation, scheme, where, is_leaf=lambda node: isinstance(node, type(where))
    )


def analyse(scheme, key, x, y, observation):
    return quick(lambda x, y: scheme(key, x, y, observation))(x, y)


@pytest.mark.parametrize("placeless", [(), (1.0, 0.5)])
@pytest.mark.parametrize("name", PLACES)
def test_lists_hold_the_weights_of_the_table(x64, name, placeless):
    where = kd.Localisation(*PLACES[name], placeless=placeless)
    listed, m = where.listed(), len(PLACES[name][1])
    d = len(PLACES[name][0]) + len(placeless)
    assert 2 * listed.lists.measured.shape[1] <= m
    assert repr(listed.lists) == f"NeighbourLists(measured={listed.lists.measured.shape})"
    near = listed.near(d, m, jnp.dtype(float))
    np.testing.assert_allclose(
        scattered_back(near, m), where.taper(d, m, jnp.dtype(float)), atol=1e-12
    )
    np.testing.assert_allclose(
        listed.neighbourhood_size(d, jnp.dtype(float)),
        where.neighbourhood_size(d, jnp.dtype(float)),
        rtol=1e-12,
    )


@pytest.mark.parametrize("name", ["ring, some measured", "plane, one axis periodic"])
@pytest.mark.parametrize("make", [kd.LETKF, kd.LEnKPF])
def test_analyses_are_those_of_the_table(x64, key, make, name):
    state, measured, radius, period = PLACES[name]
    where = kd.Localisation(state, measured, radius, period)
    x = jax.random.normal(key, (8, len(state)), jnp.float64)
    every = len(state) // len(measured)
    observation = kd.GaussianObservation(kd.Select(tuple(range(0, len(state), every))), 0.5)
    y = jnp.sin(jnp.arange(len(measured), dtype=float)).at[3].set(jnp.nan)
    lists = make(where, rotation_angle=0.5)
    table = with_localisation(lists, where)
    assert lists.localisation.lists is not None and table.localisation.lists is None
    got, wanted = (analyse(f, key, x, y, observation) for f in (lists, table))
    assert got[1].ok and wanted[1].ok
    np.testing.assert_allclose(got[0], wanted[0], atol=1e-9)


def test_tables_stay_where_they_are_cheaper_or_positions_are_traced():
    assert kd.Localisation(RING[:8], RING[:8], 4.0).listed().lists is None

    def lists(radius, **settings):
        return kd.LETKF(kd.Localisation(RING, RING, radius, **settings)).localisation.lists

    assert jax.jit(lambda r: jnp.asarray(lists(r) is None))(1.0)
    assert jax.jit(lambda r: jnp.asarray(lists(r, max_radius=2.0) is not None))(1.0)


def test_a_radius_within_the_largest_is_served_and_another_is_flagged(x64, key):
    where = kd.Localisation(RING, RING, 1.0, 60.0, max_radius=1.5)
    listed = where.listed()
    for radius in (0.5, 1.5):
        near = dataclasses.replace(listed, radius=radius).near(60, 60, jnp.dtype(float))
        taper = kd.Localisation(RING, RING, radius, 60.0).taper(60, 60, jnp.dtype(float))
        np.testing.assert_allclose(scattered_back(near, 60), taper, atol=1e-12)
    x = jax.random.normal(key, (6, 60))
    grown = eqx.tree_at(lambda where: where.radius, listed, jnp.asarray(2.0))
    observation = kd.GaussianObservation(kd.Identity(), 1.0)
    out, info = analyse(
        with_localisation(kd.LETKF(where), grown), key, x, jnp.zeros(60), observation
    )
    assert not info.ok and np.isfinite(out).all()


@pytest.mark.parametrize("make", [kd.LETKF, kd.LEnKPF])
def test_what_no_measurement_reaches_stays_as_it_is_and_is_counted(dtype, key, make):
    measured = np.arange(20)
    where = kd.Localisation(RING, RING[measured], 1.0)
    x = jax.random.normal(key, (10, 60), dtype)
    observation = kd.GaussianObservation(kd.Select(tuple(measured.tolist())), 0.5)
    scheme = make(where, inflation=1.1, rotation_angle=0.5)
    out, info = analyse(scheme, key, x, jnp.zeros(20, dtype), observation)
    far = RING > 19 + 2 * (10 / 3) ** 0.5
    assert info.ok and int(info.num_unreached) == far.sum()
    np.testing.assert_allclose(out[:, far], x[:, far], atol=1e-6)
    assert (np.abs(out - x)[:, ~far] > 0).any()
    # a missing measurement reaches nothing
    _, fewer = analyse(scheme, key, x, jnp.full(20, jnp.nan, dtype).at[0].set(0), observation)
    assert int(fewer.num_unreached) == (RING > 2 * (10 / 3) ** 0.5).sum()


@pytest.mark.parametrize("points", [None, kd.AnalysisBlocks(3.0), kd.AnalysisGrid(3.0)])
@pytest.mark.parametrize("make", [kd.LETKF, kd.LEnKPF])
def test_a_grid_that_does_not_match_the_state_is_named(key, make, points):
    scheme = make(kd.Localisation(PLANE, PLANE[:60], 0.7, points=points))
    observation = kd.GaussianObservation(kd.Select(range(60)), 1.0)
    with pytest.raises(ValueError, match=r"positions of 181 coordinates and 60 .* got 180"):
        scheme(key, jnp.zeros((4, 181)), jnp.zeros(60), observation)


def test_bad_input_is_named():
    for bad in (np.inf, -np.inf):
        with pytest.raises(ValueError, match="positions: expected finite numbers, got measured"):
            kd.Localisation([[0.0, 1.0]], [[0.0, bad]], 1.0)
    with pytest.raises(TypeError, match="max_neighbours: expected an int"):
        kd.Localisation([0.0], [0.0], 1.0, max_neighbours=2.0)
    with pytest.raises(ValueError, match="positions: expected finite numbers, got state"):
        kd.Localisation([0.0, np.nan], [0.0], 1.0)
    with pytest.raises(ValueError, match="max_radius: expected at least the radius"):
        kd.Localisation([0.0], [0.0], 2.0, max_radius=1.0)
