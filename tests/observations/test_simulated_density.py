"""The density of a measurement from simulated ones, where noise depends on the state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from schemes import quick

import kdediff_jax as kd

N, REPLICATES = 300, 8
NAN = np.nan


@quick
def estimate(x, simulated, y):
    """Return log p(y_k | x_i), and whether noise is anything but additive and Gaussian."""
    density = kd.SimulatedDensity()(x, simulated)
    return density(y, x), density.depends


def simulated_by(sample, x, replicates, seed=1):
    keys = jax.random.split(jax.random.key(seed), (x.shape[0], replicates))
    return jax.vmap(jax.vmap(sample, in_axes=(0, None)))(keys, x)


def standard_normal(n, d=1, dtype="float32", seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, d)), dtype)


def multiplicative(key, x):
    return jnp.exp(x) * jax.random.normal(key, x.shape, x.dtype)


def two_branches(key, x):
    branch, noise = jax.random.split(key)
    sign = jnp.where(jax.random.bernoulli(branch), 1.0, -1.0)
    return sign * (x + 2) + 0.3 * jax.random.normal(noise, x.shape)


def rounded(key, x):
    return jnp.round(x + 0.2 * jax.random.normal(key, x.shape))


EXACT = {
    multiplicative: lambda y, x: norm.logpdf(y, 0, jnp.exp(x)),
    two_branches: lambda y, x: jnp.logaddexp(
        norm.logpdf(y, x + 2, 0.3), norm.logpdf(y, -x - 2, 0.3)
    ),
    rounded: lambda y, x: jnp.log(
        jnp.maximum(norm.cdf((y + 0.5 - x) / 0.2) - norm.cdf((y - 0.5 - x) / 0.2), 1e-6)
    ),
}


@pytest.mark.parametrize("replicates", [1, REPLICATES])
@pytest.mark.parametrize(
    ("sample", "y"), [(multiplicative, 3.0), (multiplicative, 0.02), (two_branches, 2.5),
                      (two_branches, -3.0), (rounded, 1.0)]
)  # fmt: skip
def test_the_weights_are_those_of_the_exact_density(sample, y, replicates):
    x = standard_normal(N)
    found, depends = estimate(x, simulated_by(sample, x, replicates), jnp.array([y]))
    assert depends
    weights = np.asarray(jax.nn.softmax(found[:, 0]))
    exact = np.asarray(jax.nn.softmax(EXACT[sample](y, x[:, 0])))
    # the same posterior mean and spread: the prior's are 0 and 1
    x = np.asarray(x)[:, 0]
    mean, wanted = weights @ x, exact @ x
    assert np.abs(mean - wanted) < 0.25
    spread = np.log((weights @ (x - mean) ** 2) / (exact @ (x - wanted) ** 2)) / 2
    assert np.abs(spread) < 0.5


@pytest.mark.parametrize("replicates", [1, REPLICATES])
@pytest.mark.parametrize(("n", "d"), [(20, 3), (100, 3), (60, 20)])
def test_additive_noise_is_told_from_any_other(n, d, replicates):
    """Also where h is not linear, if replicates show h itself."""
    h = jnp.exp if replicates > 1 else jnp.sin

    def one(key):
        member_key, noise_key = jax.random.split(key)
        x = jax.random.normal(member_key, (n, d))
        noise = 0.5 * jax.random.normal(noise_key, (n, replicates, d))
        predict = None if replicates == 1 else lambda p: h(p) + jnp.mean(noise, axis=1)
        mean = h(x) if replicates > 1 else x
        return kd.SimulatedDensity()(x, mean[:, None] + noise, predict).depends

    found = quick(jax.vmap(one))(jax.random.split(jax.random.key(2), 100))
    assert np.mean(found) <= 0.03


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_units_and_missing_components_change_nothing(dtype, unit):
    x = standard_normal(60, 2, dtype)
    simulated = simulated_by(multiplicative, x, 2).at[5, 0, 1].set(NAN)
    y = jnp.array([0.5, NAN], dtype)
    wanted, _ = estimate(x, simulated, y)
    found, depends = estimate(unit * x, simulated / unit, y / unit)
    assert depends and found.dtype == dtype and not found[:, 1].any()
    relative = found[:, 0] - np.max(found[:, 0]), wanted[:, 0] - np.max(wanted[:, 0])
    np.testing.assert_allclose(*relative, atol=2e-3 if dtype == "float32" else 1e-6)
    # what a component is not measured in says nothing of the other
    other, _ = estimate(x, simulated.at[:, :, 1].multiply(10), y)
    np.testing.assert_allclose(other[:, 0], wanted[:, 0], atol=1e-5)


def test_no_measurement_is_impossible_or_breaks_a_gradient():
    x = standard_normal(50)

    def total(x, simulated, y):
        return jnp.sum(kd.SimulatedDensity()(x, simulated)(y, x))

    both = quick(jax.value_and_grad(total))
    for sample in EXACT:
        for y in (0.0, 1e3, 1e12):
            value, slope = both(x, simulated_by(sample, x, 2), jnp.array([y], x.dtype))
            assert np.isfinite(value) and np.isfinite(slope).all()


class Simulator(kd.AbstractObservation):
    """Multiplicative noise without its density."""

    def sample(self, key, x, t):
        return multiplicative(key, x[:1])


def test_the_untuned_filter_learns_from_the_size_of_the_noise():
    """Exact figures by quadrature; an ensemble Kalman filter finds the prior, 0 and 1."""
    scheme, x = kd.EnKPF(), standard_normal(200)
    keys = jax.random.split(jax.random.key(3), 10)
    pairs = simulated_by(multiplicative, x, 10)[:, :, 0]

    def from_pairs(key, simulated, y):
        return scheme.update(key, x, simulated[:, None], y)[0]

    simulating = quick(jax.vmap(lambda key, y: scheme(key, x, y, Simulator()), (0, None)))
    archived = quick(jax.vmap(from_pairs, in_axes=(0, 1, None)))
    for y, mean, std in ((6.0, 1.50, 0.45), (0.01, -1.00, 0.90)):
        measured = jnp.array([y], "float32")
        whole, info = simulating(keys, measured)
        assert np.all(info.ok) and np.all(info.ess < 150)
        for found in (np.asarray(whole), np.asarray(archived(keys, pairs, measured))):
            means = found.mean(axis=(1, 2))
            assert np.abs(means.mean() - mean) < 0.25
            assert np.abs(found.std(axis=1).mean() - std) < 0.25


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="widths"):
        kd.SimulatedDensity(widths=(0.0, 1.0))
    with pytest.raises(ValueError, match="evidence"):
        kd.SimulatedDensity(evidence=-1.0)
