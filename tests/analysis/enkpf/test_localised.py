"""The localised filter: its limits, neighbourhoods, large systems, bad input."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick
from stages import CERTAIN

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.experiments.run import run_filter
from kdediff_jax.samplers.marginal_flow import marginal_flow

MATRIX = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
STD = np.array([0.7, 0.4])
Y = np.array([1.0, -0.5])
EVERYWHERE = kd.Localisation([0.0, 1.0, 2.0], [0.5, 1.5], 1e9)
N = 30


def plain(where=EVERYWHERE, **settings):
    """The split, the weights and the transport alone."""
    fixed = {"inflation": 1.0, "rotation_angle": 0.0, "shrinkage": 0.0}
    settings = {**fixed, "spread_correction": CERTAIN, **settings}
    return kd.LEnKPF(where, **settings)


def observation(make=kd.GaussianObservation):
    return make(kd.Linear(MATRIX), STD)


def analyse(scheme, key, x, y, observed):
    """Compile anew: a scheme of this module is used once or twice."""
    return quick(lambda x, y: scheme(key, x, y, observed))(x, jnp.asarray(y, x.dtype))


def members(key):
    mix = np.array([[1.0, 0.3, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 2.0]])
    return jax.random.normal(key, (N, 3), jnp.float64) @ mix + 1


@pytest.mark.parametrize("radius", [1e9, 1.0])
def test_full_kalman_share_is_the_letkf(x64, key, radius):
    where = dataclasses.replace(EVERYWHERE, radius=radius)
    x, inflation = members(key), kd.SamplingInflation(1.0)
    ours = plain(where, kalman_share=1.0, inflation=inflation)
    out, info = analyse(ours, key, x, Y, observation())
    letkf = kd.LETKF(where, inflation=inflation)
    expected, _ = analyse(letkf, key, x, Y, observation())
    assert info.ok and info.ess == pytest.approx(N)
    np.testing.assert_allclose(out, expected, atol=2e-6)


@pytest.mark.parametrize("make", [kd.GaussianObservation, kd.LaplaceObservation])
def test_infinite_radius_weighs_as_the_global_filter(x64, key, make):
    """And carries every coordinate by its own marginal flow."""
    x = members(key)
    scheme = plain(kalman_share=0.0, kernel_width=0.3)
    out, info = analyse(scheme, key, x, Y, observation(make))
    log_likelihood = jax.vmap(lambda v: observation(make).log_likelihood(jnp.asarray(Y), v, 0.0))
    log_weights = jax.nn.log_softmax(log_likelihood(x))
    expected = jax.vmap(marginal_flow, in_axes=(1, None, None), out_axes=1)(x, log_weights, 0.3)
    np.testing.assert_allclose(out, expected, atol=1e-7)
    np.testing.assert_allclose(info.ess, 1 / jnp.sum(jnp.exp(log_weights) ** 2), rtol=1e-9)


def test_half_the_likelihood_moves_and_half_of_it_weighs(x64, key):
    """g = 1/2 by hand: the LETKF of the noise 2 R, then weights by half of the log-likelihood."""
    x = members(key)
    out, info = analyse(plain(kalman_share=0.5, kernel_width=0.3), key, x, Y, observation())
    doubled = kd.GaussianObservation(kd.Linear(MATRIX), 2**0.5 * STD)
    moved, _ = analyse(kd.LETKF(EVERYWHERE, inflation=1.0), key, x, Y, doubled)
    misfit = (np.asarray(Y) - np.asarray(moved) @ np.asarray(MATRIX).T) / np.asarray(STD)
    log_w = jax.nn.log_softmax(jnp.asarray(-0.25 * np.sum(misfit**2, axis=1)))
    expected = jax.vmap(marginal_flow, in_axes=(1, None, None), out_axes=1)(moved, log_w, 0.3)
    np.testing.assert_allclose(out, expected, atol=1e-7)
    np.testing.assert_allclose(info.ess, 1 / jnp.sum(jnp.exp(log_w) ** 2), rtol=1e-8)


def test_sampling_inflation_knows_the_noise_of_gain_and_weights(x64, key):
    x = members(key)
    of_gain, of_weights = 1.3, 6.0
    rule = kd.FieldSamplingInflation(of_gain, of_weights)
    same, info = analyse(plain(kalman_share=0.0), key, x, Y, observation())
    wider, _ = analyse(plain(kalman_share=0.0, inflation=rule), key, x, Y, observation())
    signal = np.cov(x @ MATRIX.T, rowvar=False)
    freedom = np.trace(np.linalg.solve(signal + np.diag(np.square(STD)), signal))
    expected = 1 + of_gain * freedom / (N - 1) + of_weights * (1 / info.ess - 1 / N)
    assert 3 < info.ess < 20
    np.testing.assert_allclose(wider.var(axis=0) / same.var(axis=0), expected, rtol=1e-6)
    np.testing.assert_allclose(wider.mean(axis=0), same.mean(axis=0), atol=1e-9)


def test_rotations_keep_the_mean_and_the_spread_of_every_coordinate(x64, key):
    x = members(key)
    still, _ = analyse(plain(kalman_share=0.5), key, x, Y, observation())
    turned, _ = analyse(plain(kalman_share=0.5, rotation_angle=0.9), key, x, Y, observation())
    assert np.abs(turned - still).max() > 0.05
    np.testing.assert_allclose(turned.mean(axis=0), still.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(turned.var(axis=0), still.var(axis=0), rtol=1e-9)


def test_coordinates_far_from_every_measurement_stay(key):
    x = jax.random.normal(key, (20, 6))
    ring = kd.Localisation(np.arange(6.0), [0.0], 0.5, period=6.0)
    scheme = kd.LEnKPF(ring, kalman_share=0.5)
    out, _ = analyse(scheme, key, x, [2.0], kd.GaussianObservation(kd.Select((0,)), 0.5))
    # the taper of radius 0.5 ends at 1.83
    np.testing.assert_allclose(out[:, 2:5], x[:, 2:5], atol=2e-5)
    assert np.abs(out[:, [0, 1, 5]] - x[:, [0, 1, 5]]).max() > 0.01


def test_a_missing_component_is_as_if_never_measured(x64, key):
    x = members(key)
    half, _ = analyse(kd.LEnKPF(EVERYWHERE), key, x, [1.0, jnp.nan], observation())
    first = kd.GaussianObservation(kd.Linear(MATRIX[:1]), STD[:1])
    where = kd.Localisation([0.0, 1.0, 2.0], [0.5], 1e9)
    alone, _ = analyse(kd.LEnKPF(where), key, x, [1.0], first)
    np.testing.assert_allclose(half, alone, atol=1e-9)


def test_without_rotation_members_keep_their_places(x64, key):
    x, order = members(key), np.random.default_rng(0).permutation(N)
    scheme = plain(spread_correction=kd.FieldSpreadCorrection())
    call = quick(lambda x: scheme(key, x, jnp.asarray(Y), observation())[0])
    np.testing.assert_allclose(call(x[order]), call(x)[order], atol=1e-7)


def absolute_of_middle(x):
    return jnp.abs(x[1:2])


def test_two_modes_are_kept_by_weights_where_a_gain_would_merge_them(key):
    """|x| is measured at the middle of a ring: both signs stay, and only the right size."""
    signs = jnp.where(jnp.arange(200) % 2 == 0, 1.0, -1.0)
    noise = jax.random.normal(key, (200, 3))
    x = jnp.stack([noise[:, 0], signs * (2 + 0.8 * noise[:, 1]), noise[:, 2]], axis=1)
    where = kd.Localisation([0.0, 1.0, 2.0], [1.0], 0.2)
    measured = kd.GaussianObservation(absolute_of_middle, 0.2)
    out, info = analyse(kd.LEnKPF(where, inflation=1.0), key, x, [3.0], measured)
    merged, _ = analyse(kd.LETKF(where), key, x, [3.0], measured)
    assert info.ess < 150  # weights were used
    middle = np.asarray(out[:, 1])
    assert 0.4 < (middle > 0).mean() < 0.6
    # posterior of the size: mean 2.94, std .194; the kernel's width adds about .35 here
    assert abs(np.abs(middle).mean() - 2.94) < 0.2

    def off(members):
        return np.median(np.abs(np.abs(np.asarray(members)) - 2.94))

    assert off(middle) < 0.5 < 0.7 < off(merged[:, 1])


@pytest.mark.slow
def test_thousand_coordinates(large_lorenz96):
    sites = np.arange(1000.0)
    scheme = kd.LEnKPF(kd.Localisation(sites, sites, 4.0, period=1000.0))
    assert float(large_lorenz96(10)(scheme)[5:].mean()) < 0.4


@pytest.mark.slow
@pytest.mark.parametrize(("members", "letkf"), [(40, 1.0), (60, 0.89), (100, 0.84)])
def test_below_the_published_letkf_on_spantini2019(rmse_of_three_runs, members, letkf):
    experiment = experiments.load("spantini2019")
    scheme = experiment.filter("lenkpf", members)
    assert rmse_of_three_runs(experiment, members, scheme).mean() < letkf


@pytest.mark.parametrize("share", [None, 0.0])
def test_degenerate_ensembles_give_finite_members(key, share):
    """Members all equal, a constant coordinate, a far measurement, a nearly exact one."""
    x = jax.random.normal(key, (12, 3))
    std, y = jnp.asarray(STD, jnp.float32), jnp.asarray(Y, jnp.float32)
    scheme = kd.LEnKPF(EVERYWHERE, kalman_share=share)
    matrix = jnp.asarray(MATRIX, jnp.float32)

    @quick
    def call(x, y, std):
        return scheme(key, x, y, kd.GaussianObservation(kd.Linear(matrix), std))

    for case in (
        (x.at[:, 1].set(2.0), y, std),
        (jnp.broadcast_to(x[:1], x.shape), y, std),
        (x, 1e4 * y, std),
        (x, y, std.at[0].set(1e-6)),
    ):
        out, info = call(*case)
        assert info.ok and np.isfinite(out).all()


def test_members_far_from_the_truth_find_it_through_a_saturating_measurement():
    """`bao2024`: N(0, 1) members, a truth of standard deviation 3.6, its arctan measured."""
    experiment = experiments.load("bao2024")
    for seed in range(3):
        twin = experiment.twin(seed, 20, 40, jnp.dtype("float32"))
        scheme = experiment.filter(experiment.recommended, 20)
        found = run_filter(experiment, scheme, twin, seed).result.raise_if_failed()
        error = kd.metrics.rmse(found.mean, twin.truth)
        assert error[0] > 2 and jnp.mean(error[-10:]) < 0.1


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kd.LEnKPF(4.0), TypeError, "localisation: expected a Localisation"),
        (lambda: kd.LEnKPF(EVERYWHERE, rotation_angle=-1.0), ValueError, "rotation_angle"),
        (lambda: kd.LEnKPF(EVERYWHERE, kalman_share=2.0), ValueError, "kalman_share"),
        (lambda: kd.LEnKPF(EVERYWHERE, noise="knwon"), ValueError, "did you mean 'known'"),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_positions_that_do_not_fit_are_named(key):
    where = kd.Localisation([0.0, 1.0], [0.5, 1.5], 1.0)
    with pytest.raises(ValueError, match="expected positions of 3 coordinates"):
        kd.LEnKPF(where)(key, jnp.zeros((5, 3)), jnp.zeros(2), observation())
