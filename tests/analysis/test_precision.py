"""Measurements far more precise than the forecast, in float32: roots, not differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

N, D = 100, 3
EXACT = {"inflation": 1.0, "spread_correction": kd.SpreadCorrection(0.0, jnp.inf)}
SCHEMES = {
    "enkpf": kd.EnKPF(**EXACT),
    "enkpf, share 0": kd.EnKPF(kalman_share=0.0, **EXACT),
    "enkf": kd.EnKF(),
    "etkf": kd.ETKF(inflation=1.0),
}


def forecast(spread, seed):
    """Return members of unit sample covariance but for one common direction of that spread."""
    z = np.random.default_rng(seed).normal(size=(N, D))
    z = z - z.mean(axis=0)
    z = z @ np.linalg.cholesky(np.linalg.inv(z.T @ z / (N - 1)))
    common = np.ones(D) / D**0.5
    return (z + (spread - 1) * np.outer(z @ common, common)).astype("float32")


# spread of the common direction, noise of the measured coordinate, tolerance: at a ratio of a
# million the rounding of the members themselves is a sixth of the noise
CASES = [(1e3, 0.5, 0.03), (1e5, 0.5, 0.06), (1.0, 1e-4, 0.03), (1.0, 1e-5, 0.04), (1.0, 1e-6, 0.2)]


@pytest.mark.parametrize("name", SCHEMES)
def test_the_analysis_has_the_spread_of_kalman(name):
    run = jax.jit(
        lambda key, x, y, std: SCHEMES[name](key, x, y, kd.GaussianObservation(kd.Select([0]), std))
    )
    for spread, std, tolerance in CASES:
        x = forecast(spread, 0)
        p = np.cov(x.astype(float).T)
        exact = np.sqrt(p[0, 0] * std**2 / (p[0, 0] + std**2))
        y = x[:, :1].mean(axis=0) + np.float32(0.3 * std)
        ratios = []
        for seed in range(16):
            analysis, info = run(jax.random.key(seed), x, y, jnp.float32(std))
            assert info.ok
            ratios.append(np.asarray(analysis, float)[:, 0].std(ddof=1) / exact)
        error = np.std(ratios) / 4  # of draws
        assert abs(np.mean(ratios) - 1) < tolerance + 3 * error, (spread, std, np.mean(ratios))


@pytest.mark.parametrize("std", [1e-2, 1e-4, 1e-6])
def test_more_precise_measurements_than_members(std):
    """Ten members, twelve components: singular but for the noise. Nothing fails."""
    m = 12
    for name, scheme in SCHEMES.items():
        for seed in range(4):
            rng = np.random.default_rng(seed)
            h, x = rng.normal(size=(m, m)), rng.normal(size=(10, m)).astype("float32")
            within = x.mean(axis=0) + (rng.normal(size=10) / 3) @ (x - x.mean(axis=0))
            y = (h @ within + std * rng.normal(size=m)).astype("float32")
            observation = kd.GaussianObservation(kd.Linear(h), std)
            analysis, info = scheme(
                jax.random.key(seed), jnp.asarray(x), jnp.asarray(y), observation
            )
            assert info.ok and np.isfinite(analysis).all(), name
            before = np.abs(y - h @ x.mean(axis=0)).max()
            left = np.abs(y - h @ np.asarray(info.mean, float)).max()
            assert left < (0.05 if std > 1e-5 else 0.3) * before, (name, left, before)
