"""Linear and Gaussian: every filter tends to the Kalman filter as 1/sqrt(N).

The closed-form filter's limit is the Kalman analysis with R + h_y^2 I, its covariance enlarged by
h_x^2 I. All tolerances are standard errors taken from independent replicates.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

SMALL, LARGE = 16, 256
H_X, H_Y, STD = 0.3, 0.6, 0.5
OPERATOR = np.array([[1.0, 0.5]])
START, SPREAD = np.array([1.0, -0.5]), 0.8
YS = np.array([1.6, 1.4, -0.3, np.nan, 0.9] * 4)[:, None]  # every fifth measurement is missing

KDE, EXACT = (H_Y, H_X), (0.0, 0.0)  # what the limit adds to the noise, and to the covariance
FILTERS = {
    "kde, flow": (lambda: kde(kd.ProbabilityFlow()), KDE),
    # 40 steps instead of 100: the bias of the coarser path is far below a standard error here
    "kde, sde": (lambda: kde(kd.ReverseSDE(num_steps=40)), KDE),
    "kde, mixture": (lambda: kde(kd.ExactMixture()), KDE),
    "enkpf": (lambda: kd.EnKPF(), EXACT),
    "enkf": (lambda: kd.EnKF(), EXACT),
    "enkf, pairs": (lambda: kd.EnKF(noise="pairs"), EXACT),
    "etkf": (lambda: kd.ETKF(inflation=1.0), EXACT),
    "sir": (lambda: kd.SIR(), EXACT),
}


def kde(sampler):
    return kd.KDEDiffusion(H_X, H_Y, sampler=sampler)


def problem():
    dynamics = kd.LinearGaussian([[0.9, 0.3], [-0.2, 0.95]], noise_root=0.4)
    return dynamics, kd.GaussianObservation(kd.Linear(OPERATOR), STD)


def kalman(noise, kernel):
    return kd.kalman.kalman_filter(
        problem()[0],
        jnp.asarray(OPERATOR),
        jnp.eye(1) * (STD**2 + noise**2),
        jnp.asarray(START),
        jnp.eye(2) * SPREAD**2,
        jnp.asarray(YS),
        kernel_covariance=kernel**2,
    )


def moments(output):
    return output.info.mean, jnp.cov(output.analysis.T)


def replicates(analysis, n, count, *, level=0):
    """Return mean errors [count T 2] and covariance errors [count T 3] of independent runs."""

    def run(key):
        draw, go = jax.random.split(key)
        ensemble = jnp.asarray(START)[None] + SPREAD * jax.random.normal(draw, (n, 2))
        result = kd.assimilate(go, *problem(), analysis, ensemble, jnp.asarray(YS), save=moments)
        return *result.saved, result.info.ok

    # compiling is most of the cost: XLA need not optimise what runs for milliseconds
    options = {"xla_backend_optimization_level": level}
    keys = jax.random.split(jax.random.key(n), count)
    mean, covariance, ok = jax.jit(jax.vmap(run), compiler_options=options)(keys)
    assert np.all(ok)
    return flat(mean, covariance)


def flat(mean, covariance):
    """Return the 2 entries of a mean and the 3 of a covariance side by side."""
    return np.concatenate([mean, np.asarray(covariance)[..., [0, 0, 1], [0, 1, 1]]], axis=-1)


def rms(errors):
    """Return the root-mean-square error over replicates and its relative standard error."""
    square = np.sum(errors**2, axis=-1)
    mean = square.mean()
    # delta method: d log sqrt(m) = dm / 2m
    return np.sqrt(mean), square.std(ddof=1) / (2 * mean * np.sqrt(square.size))


def z_scores(errors):
    """Return the average error in units of its standard error."""
    return errors.mean(axis=0) / (errors.std(axis=0, ddof=1) / np.sqrt(errors.shape[0]))


@pytest.mark.parametrize("name", FILTERS)
def test_tends_to_kalman(name):
    make, limit = FILTERS[name]
    exact = flat(*kalman(*limit))
    solve = name in ("kde, flow", "kde, sde")
    large = replicates(make(), LARGE, 24, level=2 if solve else 0)
    # the average over replicates is the Kalman filter within 5 of its standard errors, in the first
    # analysis and in every cycle of the run (the bias O(1/N) is at most about one of them)
    assert np.abs(z_scores(large - exact)).max() < 5
    if limit is KDE:  # and the test would see either kernel left out
        for wrong in ((0.0, H_X), (H_Y, 0.0)):
            assert np.abs(z_scores(large - flat(*kalman(*wrong)))[0]).max() > 6  # 6.9 for the SDE
    # 16 times the members, a quarter of the error, for the mean and for the covariance
    small = replicates(make(), SMALL, 96)
    for part in (slice(0, 2), slice(2, 5)):
        coarse, a = rms((small - exact)[:, 0, part])
        fine, b = rms((large - exact)[:, 0, part])
        error = np.hypot(a, b)
        assert error < 0.2  # else the comparison would say nothing
        assert abs(np.log(coarse / fine / 4)) < 5 * error


def textbook(mean, covariance, y, operator, noise):
    keep = ~np.isnan(y)
    h, r = operator[keep], noise[np.ix_(keep, keep)]
    gain = covariance @ h.T @ np.linalg.inv(h @ covariance @ h.T + r)
    return mean + gain @ (y[keep] - h @ mean), (np.eye(mean.size) - gain @ h) @ covariance


def spd(rng, n):
    root = rng.normal(size=(n, n))
    return root @ root.T + np.eye(n)


@pytest.mark.parametrize("missing", [[], [1], [0, 2], [0, 1, 2]])
def test_kalman_analysis_is_the_textbook_formula(x64, missing):
    rng = np.random.default_rng(0)
    mean, operator, y = rng.normal(size=4), rng.normal(size=(3, 4)), rng.normal(size=3)
    covariance, noise = spd(rng, 4), spd(rng, 3)
    y[missing] = np.nan
    got = kd.kalman.analysis(*map(jnp.asarray, (mean, covariance, y, operator, noise)))
    for value, expected in zip(got, textbook(mean, covariance, y, operator, noise), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def test_kalman_filter_is_the_textbook_recursion(x64):
    rng = np.random.default_rng(1)
    matrix, root, operator = (rng.normal(size=s) / 2 for s in ((3, 3), (3, 3), (2, 3)))
    noise, kernel, p, m = spd(rng, 2), 0.1 * spd(rng, 3), spd(rng, 3), rng.normal(size=3)
    ys = rng.normal(size=(5, 2))
    ys[1, 0], ys[3] = np.nan, np.nan
    got = kd.kalman.kalman_filter(
        kd.LinearGaussian(matrix, root),
        *map(jnp.asarray, (operator, noise, m, p, ys)),
        kernel_covariance=jnp.asarray(kernel),
    )
    for k, y in enumerate(ys):
        m, p = textbook(matrix @ m, matrix @ p @ matrix.T + root @ root.T, y, operator, noise)
        # nothing measured, nothing drawn: the kernel comes with an analysis only
        p = p if np.isnan(y).all() else p + kernel
        np.testing.assert_allclose(got.mean[k], m, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(got.covariance[k], p, rtol=1e-12, atol=1e-12)
