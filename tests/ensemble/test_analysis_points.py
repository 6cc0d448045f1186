"""Local analyses at fewer points: against a loop in NumPy, against an analysis everywhere."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd

RING = np.arange(48.0)
PLANE = np.stack(np.meshgrid(np.arange(12.0), np.arange(7.0)), axis=-1).reshape(-1, 2)
SCATTERED = np.random.default_rng(0).uniform(0, 12, (60, 2))
PLACES = {
    "ring": (RING, RING[::2], 1.0, 48.0),
    "line": (RING, RING[5:], 1.0, None),
    "plane, one axis periodic": (PLANE, PLANE[::2], 0.7, (12.0, None)),
    "two fields on one grid": (np.concatenate([PLANE, PLANE]), PLANE[1:], 0.7, None),
    "scattered": (SCATTERED, SCATTERED[:40] + 0.1, 1.0, None),
}
RULES = [kd.AnalysisBlocks(3.0), kd.AnalysisGrid(2.5)]

# analyses that coordinates share have no correlations of their own
TAPER_ALONE = {kd.LETKF: {}, kd.LEnKPF: {"shrinkage": 0.0}}


def distances(a, b, period):
    gap = np.abs(a[:, None] - b[None])
    for axis, length in enumerate(np.broadcast_to(np.array(period, float), a.shape[1:])):
        if np.isfinite(length):
            gap[..., axis] = np.minimum(gap[..., axis] % length, -gap[..., axis] % length)
    return np.sqrt(np.sum(gap**2, axis=-1))


def tapered(r):
    inner = 1 - 5 / 3 * r**2 + 5 / 8 * r**3 + r**4 / 2 - r**5 / 4
    outer = 4 - 5 * r + 5 / 3 * r**2 + 5 / 8 * r**3 - r**4 / 2 + r**5 / 12 - 2 / (3 * r + 1e-30)
    return np.where(r < 1, inner, np.where(r < 2, np.maximum(outer, 0), 0))


def by_loops(where, x, predictions, y, std):
    """Every point's transform [n n], then every coordinate's mixture of them."""
    n = len(x)
    placed, period = where.placed, np.inf if where.period is None else where.period
    points, measured = (
        np.asarray(p).reshape(len(p), -1) for p in (placed.positions, where.measured)
    )
    taper = tapered(distances(points, measured, period) / (float(where.radius) * (10 / 3) ** 0.5))
    mean, spread = x.mean(axis=0), predictions - predictions.mean(axis=0)
    innovation = np.where(np.isnan(y), 0, y - predictions.mean(axis=0))
    spread = np.where(np.isnan(y), 0, spread)
    matrices = []
    for rho in taper:
        precision = rho / std**2
        values, vectors = np.linalg.eigh(spread * precision @ spread.T / (n - 1))
        inside = (vectors / (1 + values)) @ vectors.T
        weights = inside @ (spread * precision) @ innovation / (n - 1)
        root = (vectors / np.sqrt(1 + values)) @ vectors.T
        matrices.append(root + weights[None])
    out = np.empty_like(x)
    for j in range(x.shape[1]):
        matrix = sum(
            w * matrices[p]
            for p, w in zip(
                np.asarray(placed.indices)[j], np.asarray(placed.weights)[j], strict=True
            )
        )
        out[:, j] = mean[j] + matrix @ (x[:, j] - mean[j])
    return out


def problem(name, seed=0):
    """Return members, measurement and observation: every component is near some coordinate."""
    state, measured, *_ = PLACES[name]
    rng = np.random.default_rng(seed)
    d, m = len(state), len(measured)
    matrix = np.zeros((m, d))
    matrix[np.arange(m), (np.arange(m) * d) // m] = 1
    x, y = rng.normal(size=(6, d)), rng.normal(size=m)
    y[2] = np.nan
    return x, y, matrix, kd.GaussianObservation(kd.Linear(matrix), 0.5)


def analyse(scheme, key, x, y, observation):
    return quick(lambda x, y: scheme(key, x, y, observation))(jnp.asarray(x), jnp.asarray(y))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", PLACES)
def test_the_letkf_is_that_of_loops_over_points_and_coordinates(x64, key, name, rule):
    scheme = kd.LETKF(kd.Localisation(*PLACES[name], points=rule), inflation=1.0)
    x, y, matrix, observation = problem(name)
    out, info = analyse(scheme, key, x, y, observation)
    where = scheme.localisation
    assert info.ok and len(where.placed.positions) < 0.7 * len(where.state)
    np.testing.assert_allclose(np.sum(where.placed.weights, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(out, by_loops(where, x, x @ matrix.T, y, 0.5), atol=1e-9)


def linear_function(places):
    return 0.3 + np.asarray(places).reshape(len(places), -1) @ [2.0, -1.0][: places.ndim]


@pytest.mark.parametrize("name", ["line", "scattered", "two fields on one grid"])
def test_a_grid_interpolates_linear_functions_and_a_block_is_around_its_middle(x64, name):
    state = PLACES[name][0]
    grid, blocks = (
        kd.Localisation(*PLACES[name], points=rule).listed().placed for rule in RULES[::-1]
    )
    values = linear_function(grid.positions if state.ndim == 2 else grid.positions[:, 0])
    taken = np.sum(np.asarray(grid.weights) * values[grid.indices], axis=1)
    np.testing.assert_allclose(taken, linear_function(state), atol=1e-9)
    near = np.asarray(blocks.positions)[blocks.indices[:, 0]]
    assert np.abs(near - state.reshape(len(state), -1)).max() < 3.0


def test_a_ring_closes(x64):
    """The last coordinates of a ring lie between the last point and the first."""
    where = kd.Localisation(RING, RING, 1.0, 48.0, points=kd.AnalysisGrid(5.0)).listed()
    np.testing.assert_allclose(where.placed.positions[:, 0], np.arange(10) * 4.8)
    assert set(np.asarray(where.placed.indices)[47].tolist()) == {9, 0}
    shifted = dataclasses.replace(where, state=RING - 480).listed()
    np.testing.assert_allclose(shifted.placed.weights, where.placed.weights, atol=1e-9)


@pytest.mark.parametrize("make", [kd.LETKF, kd.LEnKPF])
def test_a_point_under_every_coordinate_is_the_analysis_of_every_coordinate(x64, key, make):
    """Two fields on one grid share its points: nothing is interpolated, but analysed once."""
    name = "two fields on one grid"
    x, y, _, observation = problem(name)
    settings = {"rotation_angle": 0.5, **TAPER_ALONE[make]}
    whole = make(kd.Localisation(*PLACES[name]), **settings)
    expected, wanted = analyse(whole, key, x, y, observation)
    for rule in (kd.AnalysisGrid(1.0), kd.AnalysisBlocks(1.0)):
        scheme = make(kd.Localisation(*PLACES[name], points=rule), **settings)
        assert len(scheme.localisation.placed.positions) == len(PLANE)
        out, info = analyse(scheme, key, x, y, observation)
        assert info.ok and info.num_unreached == wanted.num_unreached
        np.testing.assert_allclose(out, expected, atol=2e-7)


@pytest.mark.parametrize(
    ("make", "dtype"),
    [(kd.LETKF, jnp.float32), (kd.LETKF, jnp.float64), (kd.LEnKPF, jnp.float32)],
)
def test_interpolated_weights_are_near_those_of_every_coordinate(x64, key, make, dtype):
    """Smooth fields, a grid of half the taper's radius: the error falls with the spacing."""
    sites = np.arange(64.0)
    noise = jax.random.normal(key, (12, 64), dtype)
    x = sum(jnp.roll(noise, k, axis=1) for k in range(6)) / 6**0.5
    observation, y = (
        kd.GaussianObservation(kd.Identity(), 0.5),
        jnp.sin(jnp.arange(64, dtype=dtype)),
    )

    def run(points):
        where = kd.Localisation(sites, sites, 4.0, 64.0, points=points)
        scheme = make(where, rotation_angle=0.0, **TAPER_ALONE[make])
        out, info = analyse(scheme, key, x, y, observation)
        assert info.ok and out.dtype == dtype
        return np.asarray(out)

    whole = run(None)
    fine, coarse = (np.std(run(kd.AnalysisGrid(s)) - whole) for s in (2.0, 8.0))
    assert fine < 0.08 * np.std(whole - np.asarray(x)) and fine < 0.5 * coarse


@pytest.mark.parametrize(
    ("make", "rule"), [(kd.LETKF, RULES[0]), (kd.LETKF, RULES[1]), (kd.LEnKPF, RULES[1])]
)
def test_parameters_and_coordinates_out_of_reach(x64, key, make, rule):
    """A coordinate without a place is a point of its own; what is not reached stays."""
    where = kd.Localisation(RING, RING[:20], 0.5, placeless=(1.0, 0.5), points=rule)
    x = jax.random.normal(key, (6, 50))
    observation = kd.GaussianObservation(kd.Select(range(20)), 0.5)
    scheme = make(where, rotation_angle=0.5)
    out, info = analyse(scheme, key, x, jnp.zeros(20), observation)
    far = slice(27, 48)
    assert info.ok and 20 < info.num_unreached <= 27
    np.testing.assert_allclose(out[:, far], x[:, far], atol=1e-6)
    assert (np.abs(out - x)[:, 48:] > 1e-3).any(axis=0).all()
    if make is kd.LETKF:
        alone = make(dataclasses.replace(where, points=None), rotation_angle=0.5)
        expected, _ = analyse(alone, key, x, jnp.zeros(20), observation)
        np.testing.assert_allclose(out[:, 48:], expected[:, 48:], atol=1e-9)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kd.AnalysisBlocks(0.0), ValueError, "width: expected a finite positive number"),
        (lambda: kd.AnalysisGrid(np.nan), ValueError, "spacing: expected a finite positive"),
        (lambda: kd.Localisation(RING, RING, 1.0, points=4.0), TypeError, "points: expected None"),
        (
            lambda: kd.Localisation(RING, RING, 1.0, points=kd.AnalysisGrid(0.5)).listed(),
            ValueError,
            "points: expected fewer points of analysis than .* got 48 by AnalysisGrid",
        ),
        (
            lambda: kd.Localisation(
                PLANE, PLANE, 1.0, points=kd.AnalysisBlocks((1, 2, 3))
            ).listed(),
            ValueError,
            r"width: expected one known number, or one for each of 2 axes, got shape \(3,\)",
        ),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_positions_that_are_traced_have_no_points():
    def build(state):
        return kd.LETKF(kd.Localisation(state, RING, 1.0, points=kd.AnalysisGrid(4.0)))

    with pytest.raises(ValueError, match="points: expected positions and period that are known"):
        jax.eval_shape(build, jnp.asarray(RING))
