"""The radius of the least risk: against a loop, and where the true correlations are known."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


def ring(d, every=1, radius=4.0, **options):
    sites = jnp.arange(float(d))
    return kd.Localisation(sites, sites[::every], radius, period=float(d), **options)


def smooth_field(rng, n, d, width):
    """Members of correlation exp(-r^2 / (4 width^2)) on a ring."""
    gap = np.minimum(np.arange(d), d - np.arange(d))
    kernel = np.fft.fft(np.exp(-(gap**2) / (2 * width**2)))
    x = np.fft.ifft(np.fft.fft(rng.normal(size=(n, d))) * kernel).real
    return x - x.mean(axis=0)


def test_the_radius_is_that_of_a_loop(dtype):
    rng = np.random.default_rng(0)
    x = smooth_field(rng, 8, 24, 1.5)
    where = kd.AdaptiveRadius(ring(24, 2), FACTORS)
    risks = []
    for factor in FACTORS:
        rho = np.asarray(ring(24, 1, 4.0 * factor).taper(24, 24, jnp.dtype(jnp.float32)))
        risk = 0.0
        for j in range(24):
            for k in range(24):
                r2 = np.corrcoef(x[:, j], x[:, k])[0, 1] ** 2
                risk += rho[j, k] ** 2 * r2 - 2 * rho[j, k] * (r2 - (1 - r2) / 6)
        risks.append(risk)
    found = where.radius(jnp.asarray(x, dtype))
    assert found.dtype == dtype
    assert found == 4.0 * FACTORS[int(np.argmin(risks))]
    assert sorted(risks)[1] - min(risks) > 0.1  # no tie


@pytest.mark.parametrize("width", [1.0, 3.0])
def test_the_radius_follows_members_and_field(x64, width):
    """It is that of the least error of the tapered correlations, whose truth is known here."""
    rng, d = np.random.default_rng(1), 64
    where = kd.AdaptiveRadius(ring(d))
    radius = eqx.filter_jit(where.radius)
    gap = np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    truth = np.exp(-(np.minimum(gap, d - gap) ** 2) / (4 * width**2))
    radii = 4.0 * np.asarray(where.factors)
    tapers = [np.asarray(ring(d, radius=r).taper(d, d, jnp.dtype(jnp.float64))) for r in radii]
    means = []
    for n in (8, 40):
        found, errors = [], 0
        for _ in range(30):
            x = smooth_field(rng, n, d, width)
            found.append(int(np.argmin(np.abs(radii - radius(jnp.asarray(x))))))
            r = np.corrcoef(x.T)
            errors += np.array([np.sum((rho * r - truth) ** 2) for rho in tapers])
        least = errors.min()
        assert np.mean(errors[found]) < 1.25 * least
        means.append(np.mean(found))
    assert means[1] > means[0] + 1  # more members, a wider one


def test_lists_find_the_radius_that_tables_find(x64):
    x = jnp.asarray(smooth_field(np.random.default_rng(2), 12, 200, 1.0))
    where = kd.AdaptiveRadius(ring(200, radius=3.0))
    listed = where.listed()
    assert listed.localisation.lists is not None and where.localisation.lists is None
    np.testing.assert_allclose(eqx.filter_jit(listed.radius)(x), eqx.filter_jit(where.radius)(x))
    (group,), _ = listed.around(x, x, None)
    assert jnp.isfinite(group.weights).all()
    np.testing.assert_allclose(listed.size_around(x), where.size_around(x), rtol=1e-6)


def test_an_analysis_is_that_of_the_radius_found(key):
    x = jnp.asarray(smooth_field(np.random.default_rng(3), 10, 16, 1.0), jnp.float32)
    y = jnp.linspace(-1, 1, 8)
    observation = kd.GaussianObservation(kd.Select(tuple(range(0, 16, 2))), 0.5)
    where = kd.AdaptiveRadius(ring(16, 2, 2.0), FACTORS)
    fixed = ring(16, 2, float(where.radius(x)))
    found, info = kd.LETKF(where)(key, x, y, observation)
    expected, _ = kd.LETKF(fixed)(key, x, y, observation)
    assert info.ok
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert "AdaptiveRadius" in repr(where)


def test_the_radius_lets_a_gradient_pass():
    x = jnp.asarray(smooth_field(np.random.default_rng(4), 10, 16, 1.0), jnp.float32)
    where = kd.AdaptiveRadius(ring(16), FACTORS)

    def total(x):
        (group,), _ = where.around(x, x, None)
        return jnp.sum(group.weights) + jnp.sum(x**2)

    np.testing.assert_allclose(jax.grad(total)(x), 2 * x, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kd.AdaptiveRadius(3.0), TypeError, "localisation: expected a Localisation"),
        (lambda: kd.AdaptiveRadius(ring(8), (1.0, 0.0)), ValueError, "factors: expected"),
        (lambda: kd.AdaptiveRadius(ring(8), ()), ValueError, "factors: expected one or more"),
        (lambda: kd.AdaptiveRadius(ring(8), 2.0), ValueError, "factors: expected one or more"),
        (
            lambda: kd.AdaptiveRadius(ring(8)).radius(jnp.zeros((2, 8))),
            ValueError,
            "expected at least 3 members",
        ),
    ],
)
def test_bad_input(build, error, message):
    with pytest.raises(error, match=message):
        build()
