"""The radius of the least risk: against refits without each member, and with known truths."""

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
    x = np.fft.ifft(np.fft.fft(rng.normal(size=(n, d))) * kernel).real / np.sqrt(width)
    return x - x.mean(axis=0)


def gain(x, h, rho, freedom=7):
    """The ridge regression of x [n] on h [n m], in standard deviations of the noise."""
    x, h = x - x.mean(), h - h.mean(axis=0)
    return np.linalg.solve(h.T @ h + np.diag(freedom / rho), h.T @ x)


def test_the_risk_is_that_of_refits_without_each_member(dtype):
    rng = np.random.default_rng(0)
    x = smooth_field(rng, 8, 24, 1.5)
    h = x[:, ::2] / 0.5
    risks = []
    for factor in FACTORS:
        rho = np.asarray(ring(24, 2, 4.0 * factor).taper(24, 12, jnp.dtype(jnp.float32)))
        logs = []
        for j in range(24):
            near = rho[j] > 0
            left = []
            for i in range(8):
                others = np.arange(8) != i
                k = gain(x[others, j], h[others][:, near], rho[j, near])
                ahead = x[others, j].mean() + k @ (h[i] - h[others].mean(axis=0))[near]
                left.append(x[i, j] - ahead)
            k = gain(x[:, j], h[:, near], rho[j, near])
            logs.append(np.log((np.mean(np.square(left)) + k @ k) / x[:, j].var(ddof=1)))
        risks.append(np.mean(logs))
    assert sorted(risks)[1] - min(risks) > 0.002  # no tie
    where = kd.AdaptiveRadius(ring(24, 2), FACTORS)
    found = where.radius(jnp.asarray(x, dtype), jnp.asarray(h, dtype))
    assert found.dtype == dtype
    assert found == 4.0 * FACTORS[int(np.argmin(risks))]


@pytest.mark.parametrize("std", [0.3, 3.0])
def test_the_radius_is_near_the_best_for_the_error_of_the_analysis(x64, std):
    """Its analysis of truths that are no members is as good as with the best radius in the mean."""
    d, every, truths = 48, 2, 20
    where = kd.AdaptiveRadius(ring(d, every), widening=1.0)
    radius = eqx.filter_jit(where.radius)
    radii = 4.0 * np.asarray(where.factors)
    tapers = [
        np.asarray(ring(d, every, radius=r).taper(d, d // every, jnp.dtype(jnp.float64)))
        for r in radii
    ]
    rng, means = np.random.default_rng(1), []
    for n in (8, 40):
        found, errors = [], np.zeros(len(radii))
        for _ in range(12):
            x = smooth_field(rng, n, d, 2.0)
            h = x[:, ::every] / std
            found.append(int(np.argmin(np.abs(radii - radius(jnp.asarray(x), jnp.asarray(h))))))
            truth = smooth_field(rng, truths + 1, d, 2.0)[:truths]
            y = truth[:, ::every] / std + rng.normal(size=(truths, d // every))
            hph, xph = (a.T @ h / (n - 1) for a in (h, x))
            for k, rho in enumerate(tapers):
                for j in range(0, d, 4):
                    near = rho[j] > 0
                    s = hph[np.ix_(near, near)] + np.diag(1 / rho[j, near])
                    error = truth[:, j] - y[:, near] @ np.linalg.solve(s, xph[j, near])
                    errors[k] += np.mean(error**2)
        assert np.mean(errors[found]) - errors.min() < 0.25 * np.ptp(errors)
        means.append(np.mean(found))
    assert means[1] > means[0]  # more members, a wider one


def test_lists_find_the_radius_that_tables_find(x64):
    x = jnp.asarray(smooth_field(np.random.default_rng(2), 12, 200, 1.0))
    where = kd.AdaptiveRadius(ring(200, radius=3.0))
    listed = where.listed()
    assert listed.localisation.lists is not None and where.localisation.lists is None
    assert listed.asked.lists is not None
    table = kd.Localisation(listed.asked.state, where.localisation.measured, 3.0, 200.0)
    as_table = kd.AdaptiveRadius(ring(200, radius=3.0), asked=table)
    np.testing.assert_allclose(
        eqx.filter_jit(listed.radius)(x, x), eqx.filter_jit(as_table.radius)(x, x)
    )
    (group,), _ = listed.around(x, x, None)
    assert jnp.isfinite(group.weights).all()
    np.testing.assert_allclose(listed.size_around(x), where.size_around(x), rtol=1e-6)


@pytest.mark.parametrize("scheme", [kd.LETKF, kd.LEnKPF])
def test_an_analysis_is_that_of_the_radius_found(key, scheme):
    x = jnp.asarray(smooth_field(np.random.default_rng(3), 10, 16, 1.0), jnp.float32)
    y = jnp.linspace(-1, 1, 8)
    observation = kd.GaussianObservation(kd.Select(tuple(range(0, 16, 2))), 0.5)
    where = kd.AdaptiveRadius(ring(16, 2, 2.0), FACTORS, widening=1.2)
    radius = float(where.radius(x, x[:, ::2] / 0.5))
    settings = {} if scheme is kd.LETKF else {"kalman_share": 1.0}  # a size is not asked for
    found, info = scheme(where, **settings)(key, x, y, observation)
    expected, _ = scheme(ring(16, 2, 1.2 * radius), **settings)(key, x, y, observation)
    assert info.ok
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert "AdaptiveRadius" in repr(where)


def test_units_do_not_matter_and_a_constant_has_no_say(x64):
    rng = np.random.default_rng(5)
    x = smooth_field(rng, 10, 16, 1.0)
    where = kd.AdaptiveRadius(ring(16), FACTORS)
    expected = where.radius(jnp.asarray(x), jnp.asarray(x))
    scale = 10.0 ** rng.integers(-9, 9, 16)
    assert where.radius(jnp.asarray(x * scale), jnp.asarray(x)) == expected
    x[:, 3] = 0
    assert jnp.isfinite(where.radius(jnp.asarray(x), jnp.asarray(x)))


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
        (lambda: kd.AdaptiveRadius(ring(8), widening=0.0), ValueError, "widening: expected"),
        (
            lambda: kd.AdaptiveRadius(ring(8)).radius(jnp.zeros((2, 8)), jnp.zeros((2, 8))),
            ValueError,
            "expected at least 3 members",
        ),
    ],
)
def test_bad_input(build, error, message):
    with pytest.raises(error, match=message):
        build()
