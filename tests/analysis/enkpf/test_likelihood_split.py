"""The rule that splits the likelihood between a Kalman gain and weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick
from stages import posteriors_of, predicted, share_of

import kdediff_jax as kd
from kdediff_jax.analysis.enkpf.likelihood_split import (
    coordinate_features,
    joint_features,
    largest_uncontradicted,
)
from kdediff_jax.analysis.enkpf.mixture import Mixture

ALL = jnp.ones(4, bool)
NOISE = jnp.array([0.4, 0.2, 0.1, 0.0])


@pytest.mark.parametrize(
    ("estimates", "allowed", "tolerance", "place"),
    [
        ([0.0, 0.1, 0.0, 0.1], ALL, 1.0, 3),  # within the noise: the Kalman update
        ([0.0, 0.1, 0.2, 5.0], ALL, 1.0, 2),  # contradicted by all others
        ([9.0, 0.0, 0.0, 0.0], ALL, 1.0, 0),  # the noisiest says so clearly
        ([9.0, 0.0, 0.0, 0.0], ALL.at[0].set(False), 1.0, 3),  # too noisy to be asked
        ([9.0, 4.0, 0.0, 9.0], jnp.zeros(4, bool).at[3].set(True), 1.0, 3),
        ([0.0, 0.1, 0.2, 5.0], ALL, 1e4, 3),
        ([0.0, 0.1, 0.2, 0.3], ALL, 0.0, 0),
        ([0.0, 0.1, 0.2, 0.3], ALL.at[0].set(False), 0.0, 1),
    ],
)
def test_largest_share_that_no_smaller_one_contradicts(estimates, allowed, tolerance, place):
    chosen = largest_uncontradicted(jnp.asarray(estimates)[:, None], tolerance * NOISE, allowed)
    assert int(chosen) == place


def test_shares_beyond_the_budget_are_neither_taken_nor_asked():
    rule = kd.LikelihoodSplit(shares=(0.0, 0.3, 0.6, 1.0), noise_budget=0.15, tolerance=1.0)
    estimates = jnp.asarray([9.0, 9.0, 0.0, 0.1])[:, None]
    assert rule.choose(estimates, NOISE, NOISE) == 3
    assert rule.choose(estimates, NOISE, 0.5 * NOISE) == 1
    # the last is allowed whatever it costs
    assert rule.choose(estimates, NOISE, 1 + NOISE) == 3


def moments_by_hand(members, log_weights, last, within):
    """Weighted means of coordinates and products, whitened by the last share's members."""
    d = last.shape[1]
    root = np.linalg.cholesky(np.cov(last.T, ddof=0).reshape(d, d))
    z, unit = (np.linalg.solve(root, (x - last.mean(axis=0)).T).T for x in (members, last))
    covariance = np.linalg.solve(root, np.linalg.solve(root, within).T)
    w = np.exp(log_weights)
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    first = [w @ z[:, i] / unit[:, i].std() for i in range(d)]
    return first + [
        (w @ (z[:, i] * z[:, j]) + covariance[i, j]) / (unit[:, i] * unit[:, j]).std()
        for i, j in pairs
    ]


def test_joint_features_are_moments_in_units_of_the_last_share(x64, key):
    members = 3 + jax.random.normal(key, (2, 50, 3), jnp.float64)
    log_weights = jax.nn.log_softmax(jax.random.normal(key, (2, 50), jnp.float64))
    roots = jnp.tril(0.3 * jax.random.normal(jax.random.key(1), (2, 3, 3), jnp.float64))
    found = quick(joint_features)(Mixture(members, log_weights, roots))
    for g in range(2):
        arrays = (np.asarray(x) for x in (members[g], log_weights[g], members[-1]))
        expected = moments_by_hand(*arrays, np.asarray(roots[g] @ roots[g].T))
        np.testing.assert_allclose(found[g], expected, rtol=1e-8, atol=1e-10)


def test_coordinate_features_have_weights_of_every_coordinate(x64, key):
    members = 3 + jax.random.normal(key, (2, 50, 3), jnp.float64)
    log_weights = jax.nn.log_softmax(jax.random.normal(key, (2, 3, 50), jnp.float64))
    found = quick(coordinate_features)(members, log_weights)
    for g in range(2):
        for j in range(3):
            column, last = (np.asarray(members[i, :, j : j + 1]) for i in (g, -1))
            expected = moments_by_hand(
                column, np.asarray(log_weights[g, j]), last, np.zeros((1, 1))
            )
            np.testing.assert_allclose(found[g, [j, 3 + j]], expected, rtol=1e-9, atol=1e-12)


def test_a_constant_coordinate_contradicts_nothing():
    members = jnp.zeros((2, 5, 1)).at[0].set(7.0)
    log_weights = jnp.full((2, 1, 5), -np.log(5.0, dtype=np.float32))
    assert np.all(np.asarray(coordinate_features(members, log_weights)) == 0)


IDENTITY = kd.GaussianObservation(kd.Identity(), 0.5)


@quick
def share(forecast, y):
    return share_of(kd.EnKPF(), predicted(IDENTITY, forecast, y))


def test_gaussian_forecasts_go_to_the_gain_and_others_to_the_weights(key):
    """Few members for their dimensions, and many skewed ones in the plane."""
    gaussian, skewed = [], []
    for k in jax.random.split(key, 12):
        gaussian.append(float(share(jax.random.normal(k, (100, 6)), jnp.full(6, 0.5))))
        z = jax.random.normal(k, (200, 2))
        skewed.append(float(share(jnp.exp(1.5 * z), jnp.full(2, 0.5))))
    assert np.mean(gaussian) > 0.6
    assert np.mean(skewed) < 0.1


@pytest.mark.parametrize(("n", "d"), [(1000, 2), (20, 40)])
def test_few_members_in_many_dimensions_leave_it_to_the_kalman_gain(key, n, d):
    """And the sampling noise that the weights add stays within the budget."""
    scheme, observation = kd.EnKPF(), kd.GaussianObservation(kd.Identity(), 0.3)

    @quick
    def chosen(members):
        forecast = predicted(observation, members, jnp.full(d, 0.5))
        mixture = posteriors_of(scheme, forecast)[1]
        return share_of(scheme, forecast), kd.kde.effective_sample_size(mixture.log_weights)

    share, size = chosen(jax.random.normal(key, (n, d)))
    assert share > 0.7 if d == 40 else share < 0.3
    assert d * (1 / size - 1 / n) <= scheme.kalman_share.noise_budget + 1e-5


class Smallest(kd.AbstractLikelihoodSplit):
    """A rule of a user: the smallest share that costs less than a budget."""

    shares: Any = (0.0, 0.5, 1.0)
    budget: float = 0.3

    def choose(self, estimates, sampling_noise, spent):
        return jnp.argmax((spent <= self.budget).at[-1].set(True))


@pytest.mark.parametrize(("budget", "share"), [(0.0, 1.0), (1e9, 0.0)])
def test_a_rule_of_ones_own(x64, key, budget, share):
    forecast, y = jax.random.normal(key, (20, 2)), jnp.array([0.4])
    observation = kd.GaussianObservation(kd.Select([0]), 0.5)
    by_rule, by_number = (
        kd.EnKPF(kalman_share=split)(key, forecast, y, observation)[0]
        for split in (Smallest(budget=budget), share)
    )
    np.testing.assert_allclose(by_rule, by_number, rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.EnKPF(kalman_share=1.5), r"kalman_share: .* \[0, 1\]"),
        (lambda: kd.EnKPF(kalman_share=-0.1), r"kalman_share: .* \[0, 1\]"),
        (lambda: kd.LikelihoodSplit(shares=(0.0, 2.0)), r"kalman_share: .* \[0, 1\]"),
        (lambda: kd.LikelihoodSplit(noise_budget=0.0), "noise_budget"),
        (lambda: kd.LikelihoodSplit(tolerance=-1.0), "tolerance"),
        (lambda: kd.LikelihoodSplit(shares=(0.5, 0.1)), "increasing"),
        (lambda: kd.LikelihoodSplit(shares=()), "kalman_share"),
        (lambda: kd.EnKPF(kalman_share=Smallest((0.0, 2.0))), r"kalman_share: .* \[0, 1\]"),
        (lambda: kd.EnKPF(kalman_share=Smallest(0.5)), "increasing"),
    ],
)
def test_bad_options_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
