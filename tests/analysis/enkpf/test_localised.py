"""The localised filter: its limits, neighbourhoods, large systems, bad input."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.analysis.marginal import reweight
from kdediff_jax.experiments.run import run_filter

MATRIX = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]])
STD = np.array([0.7, 0.4])
Y = np.array([1.0, -0.5])
EVERYWHERE = kd.Localisation([0.0, 1.0, 2.0], [0.5, 1.5], 1e9)


@eqx.filter_jit
def analyse(scheme, *args):
    return scheme(*args)


def local(localisation=EVERYWHERE, h=None, **kernel):
    kernel = kd.CovarianceKernel(**kernel)
    return kd.KDEDiffusion(kernel=kernel, localisation=localisation, state_bandwidth=h)


def observation(make=kd.GaussianObservation):
    return make(kd.Linear(MATRIX), STD)


def forecast(key, n=30):
    mix = np.array([[1.0, 0.3, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 2.0]])
    return jax.random.normal(key, (n, 3), jnp.float64) @ mix + 1


@pytest.mark.parametrize("radius", [1e9, 1.0])
def test_full_kalman_share_is_the_letkf(x64, key, radius):
    where = dataclasses.replace(EVERYWHERE, radius=radius)
    x = forecast(key)
    ours = local(where, kalman_share=1.0, surprise=jnp.inf, doubt=0.0, rotation=0.0)
    out, info = analyse(ours, key, x, jnp.asarray(Y), observation())
    letkf = kd.ETKF(localisation=where, inflation=kd.SamplingInflation(1.0))
    expected, _ = analyse(letkf, key, x, jnp.asarray(Y), observation())
    assert info.ok and info.ess == pytest.approx(30)
    np.testing.assert_allclose(out, expected, atol=2e-6)


def test_sampling_inflation_knows_the_noise_of_gain_and_weights(x64, key):
    x = forecast(key)
    settings = {"kalman_share": 0.0, "surprise": jnp.inf, "doubt": 0.0}
    same, info = analyse(local(inflation=1.0, **settings), key, x, jnp.asarray(Y), observation())
    wider, _ = analyse(local(**settings), key, x, jnp.asarray(Y), observation())
    signal = np.cov(x @ MATRIX.T, rowvar=False)
    freedom = np.trace(np.linalg.solve(signal + np.diag(np.square(STD)), signal))
    expected = 1 + 2 * (0.5 * freedom / 29 + 4 * (1 / info.ess - 1 / 30))
    assert 3 < info.ess < 20
    np.testing.assert_allclose(wider.var(axis=0) / same.var(axis=0), expected, rtol=1e-6)
    np.testing.assert_allclose(wider.mean(axis=0), same.mean(axis=0), atol=1e-9)


@pytest.mark.parametrize("make", [kd.GaussianObservation, kd.LaplaceObservation])
def test_infinite_radius_weighs_as_the_global_filter(x64, key, make):
    x = forecast(key)
    settings = {"kalman_share": 0.0, "inflation": 1.0, "surprise": jnp.inf, "doubt": 0.0}
    settings["rotation"] = 0.0
    out, info = analyse(local(h=0.3, **settings), key, x, jnp.asarray(Y), observation(make))
    log_likelihood = jax.vmap(lambda v: observation(make).log_likelihood(jnp.asarray(Y), v, 0.0))
    log_weights = jax.nn.log_softmax(log_likelihood(x))
    expected = jax.vmap(reweight, in_axes=(1, None, None), out_axes=1)(x, log_weights, 0.3)
    np.testing.assert_allclose(out, expected, atol=1e-7)
    np.testing.assert_allclose(info.ess, 1 / jnp.sum(jnp.exp(log_weights) ** 2), rtol=1e-9)


def test_coordinates_far_from_every_measurement_stay(key):
    x = jax.random.normal(key, (20, 6))
    ring = kd.Localisation(np.arange(6.0), [0.0], 0.5, period=6.0)
    scheme = local(ring, kalman_share=0.5)
    out, _ = analyse(scheme, key, x, jnp.array([2.0]), kd.GaussianObservation(kd.Select((0,)), 0.5))
    # the taper of radius 0.5 ends at 1.83
    np.testing.assert_allclose(out[:, 2:5], x[:, 2:5], atol=2e-5)
    assert np.abs(out[:, [0, 1, 5]] - x[:, [0, 1, 5]]).max() > 0.01


def test_missing_components_say_nothing(x64, key):
    x = forecast(key)
    scheme = local(kalman_share=0.5)
    half, _ = analyse(scheme, key, x, jnp.array([1.0, jnp.nan]), observation())
    first = kd.GaussianObservation(kd.Linear(MATRIX[:1]), STD[:1])
    alone_at = local(kd.Localisation([0.0, 1.0, 2.0], [0.5], 1e9), kalman_share=0.5)
    alone, _ = analyse(alone_at, key, x, jnp.array([1.0]), first)
    np.testing.assert_allclose(half, alone, atol=1e-9)
    same, _ = analyse(scheme, key, x, jnp.full(2, jnp.nan), observation())
    np.testing.assert_array_equal(same, x)


def test_order_of_members_does_not_matter(x64, key):
    x, order = forecast(key), np.random.default_rng(0).permutation(30)
    plain = local(rotation=0.0)  # a rotation is drawn for places, not for members
    out, _ = analyse(plain, key, x, jnp.asarray(Y), observation())
    moved, _ = analyse(plain, key, x[order], jnp.asarray(Y), observation())
    np.testing.assert_allclose(moved, out[order], atol=1e-7)


def test_dead_members_weigh_nothing(key):
    x = jax.random.normal(key, (30, 3)).at[4].set(jnp.nan)
    scheme = local(kalman_share=0.0)
    out, info = analyse(scheme, key, x, jnp.asarray(Y, jnp.float32), observation())
    assert info.ok and info.num_masked == 1 and np.isfinite(np.asarray(out)).all()


def test_two_modes_are_kept_by_weights_where_a_gain_would_merge_them(key):
    """|x| is measured at the middle of a ring: both signs stay, and only the right size."""
    signs = jnp.where(jnp.arange(200) % 2 == 0, 1.0, -1.0)
    noise = jax.random.normal(key, (200, 3))
    x = jnp.stack([noise[:, 0], signs * (2 + 0.8 * noise[:, 1]), noise[:, 2]], axis=1)
    where = kd.Localisation([0.0, 1.0, 2.0], [1.0], 0.2)
    scheme = local(where, inflation=1.0)
    measured = kd.GaussianObservation(absolute_of_middle, 0.2)
    out, info = analyse(scheme, key, x, jnp.array([3.0]), measured)
    merged, _ = analyse(kd.ETKF(localisation=where), key, x, jnp.array([3.0]), measured)
    assert info.ess < 150  # weights were used
    middle = np.asarray(out[:, 1])
    assert 0.4 < (middle > 0).mean() < 0.6
    # posterior of the size: mean 2.94, std .194; the kernel's width adds about .35 here
    assert abs(np.abs(middle).mean() - 2.94) < 0.2

    def off(members):
        return np.median(np.abs(np.abs(np.asarray(members)) - 2.94))

    assert off(middle) < 0.5 < 0.7 < off(merged[:, 1])


def absolute_of_middle(x):
    return jnp.abs(x[1:2])


def test_thousand_coordinates(large_lorenz96):
    sites = np.arange(1000.0)
    scheme = local(kd.Localisation(sites, sites, 4.0, period=1000.0))
    assert float(large_lorenz96(10)(scheme)[5:].mean()) < 0.4


@pytest.mark.slow
@pytest.mark.parametrize(("members", "letkf"), [(40, 1.0), (60, 0.89), (100, 0.84)])
def test_below_the_published_letkf_on_spantini2019(rmse_of_three_runs, members, letkf):
    experiment = experiments.load("spantini2019")
    scheme = experiment.filter("kde-auto", members)
    assert scheme.localisation is not None
    assert rmse_of_three_runs(experiment, members, scheme).mean() < letkf


@pytest.mark.parametrize("case", ["constant", "identical", "far y", "exact component"])
def test_degenerate_ensembles_give_finite_members(key, case):
    x = jax.random.normal(key, (12, 3))
    std = jnp.asarray(STD, jnp.float32)
    y = jnp.asarray(Y, jnp.float32)
    if case == "constant":
        x = x.at[:, 1].set(2.0)
    elif case == "identical":
        x = jnp.broadcast_to(x[:1], x.shape)
    elif case == "far y":
        y = y * 1e4
    else:
        std = std.at[0].set(1e-6)
    for share in (None, 0.0):
        scheme = local(kalman_share=share)
        made = kd.GaussianObservation(kd.Linear(MATRIX.astype(np.float32)), std)
        out, info = analyse(scheme, key, x, y, made)
        assert info.ok and np.isfinite(np.asarray(out)).all(), (case, share)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: local(4.0), TypeError, "localisation: expected a Localisation"),
        (
            lambda: kd.KDEDiffusion(localisation=EVERYWHERE, sampler=kd.ProbabilityFlow()),
            ValueError,
            "sampler: expected None with a localisation",
        ),
        (
            lambda: kd.KDEDiffusion(
                state_bandwidth=1.0, obs_bandwidth=1.0, localisation=EVERYWHERE
            ),
            ValueError,
            "localisation: expected the covariance kernel",
        ),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_positions_that_do_not_fit_are_named(key):
    where = kd.Localisation([0.0, 1.0], [0.5, 1.5], 1.0)
    x = jnp.zeros((5, 3))
    with pytest.raises(ValueError, match="expected positions of 3 coordinates"):
        local(where)(key, x, jnp.zeros(2), observation())


def test_members_far_from_the_truth_find_it_through_a_saturating_measurement():
    """`bao2024`: N(0, 1) members, a truth of standard deviation 3.6, its arctan measured."""
    ex = experiments.load("bao2024")
    for seed in range(3):
        twin = ex.twin(seed, 20, 40, jnp.dtype("float32"))
        found = run_filter(ex, ex.filter("kde-auto", 20), twin, seed).result.raise_if_failed()
        error = kd.metrics.rmse(found.mean, twin.truth)
        assert error[0] > 2 and jnp.mean(error[-10:]) < 0.1


def test_a_step_that_overshoots_is_cut_back_in_its_neighbourhood(key):
    """Two coordinates cubed, members near zero: one measured far out, one where members are."""
    members = jnp.linspace(0.0, 2.0, 40)[:, None] * jnp.ones((1, 2))
    members = members + 0.1 * jax.random.normal(key, (40, 2))
    observation = kd.GaussianObservation(lambda x: x**3, 0.1)
    scheme = local(
        kd.Localisation([0.0, 100.0], [0.0, 100.0], 1.0),
        kalman_share=1.0,
        surprise=np.inf,
        doubt=0.0,
    )
    y = jnp.array([1000.0, float(jnp.mean(members[:, 1] ** 3))])
    found, info = analyse(scheme, key, members, y, observation)
    assert info.ok
    # the chord through the ensemble says x = 250; the truth is 10
    assert jnp.mean(members[:, 0]) < jnp.mean(found[:, 0]) + 0.05
    assert jnp.max(found[:, 0]) < 20
    # no innovation: the mean stays, the spread shrinks
    np.testing.assert_allclose(jnp.mean(found[:, 1]), jnp.mean(members[:, 1]), atol=0.02)
    assert jnp.std(found[:, 1]) < 0.5 * jnp.std(members[:, 1])
