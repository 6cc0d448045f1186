"""Filters of this package on a model of cuthbert, against cuthbert's exact Kalman filter."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax import interop
from kdediff_jax.interop import cuthbert_filter

pytest.importorskip("cuthbert")

MATRIX = np.array([[0.9, 0.2], [-0.2, 0.9]])
ROOT_Q = np.array([[0.3, 0.0], [0.1, 0.2]])
SEEN = np.array([[1.0, 0.0], [1.0, 1.0]])
ROOT_R = np.array([[0.5, 0.0], [0.2, 0.3]])
CYCLES, MEMBERS = 40, 500


def measured():
    """Return measurements of a truth of the model, one missing and one of half."""
    rng, x, ys = np.random.default_rng(0), np.zeros(2), []
    for _ in range(CYCLES):
        x = MATRIX @ x + ROOT_Q @ rng.normal(size=2)
        ys.append(SEEN @ x + ROOT_R @ rng.normal(size=2))
    ys[7], ys[20][0] = np.full(2, np.nan), np.nan
    return jnp.asarray(np.array(ys))


def init_sample(key):
    return jax.random.normal(key, (2,))


def get_dynamics(inputs):
    return lambda x, key: (
        jnp.asarray(MATRIX) @ x + jnp.asarray(ROOT_Q) @ jax.random.normal(key, (2,))
    )


def get_observations(inputs):
    return lambda x: jnp.asarray(SEEN) @ x, jnp.asarray(ROOT_R), inputs


def get_own_observations(inputs):
    return kd.GaussianObservation(kd.Linear(jnp.asarray(SEEN)), 0.5), inputs


def exact(root_r=ROOT_R):
    from cuthbert import filter as run
    from cuthbert.gaussian import kalman

    nothing = jnp.zeros(2)
    built = kalman.build_filter(
        nothing,
        jnp.eye(2),
        lambda inputs: (jnp.asarray(MATRIX), nothing, jnp.asarray(ROOT_Q)),
        lambda inputs: (jnp.asarray(SEEN), nothing, jnp.asarray(root_r), inputs),
    )
    return run(built, measured(), built.init_prepare())


def filtered(analysis, observations=get_observations, seed=1):
    from cuthbert import filter as run

    with jax.numpy_dtype_promotion("standard"):  # of cuthbert's own arithmetic
        built = cuthbert_filter(analysis, init_sample, get_dynamics, observations, MEMBERS)

        def whole(key):
            return run(built, measured(), built.init_prepare(key=key), key=key)

        return built, jax.jit(whole)(jax.random.key(seed))


def agrees(states, theirs, factor):
    """Means and roots, in units of the exact spread; a Monte Carlo mean is off by 1 / sqrt(N)."""
    covariance = np.einsum("tij,tkj->tik", theirs.chol_cov, theirs.chol_cov)
    spread = np.sqrt(np.einsum("tii->ti", covariance))
    error = (np.asarray(states.mean) - np.asarray(theirs.mean)) / spread
    assert np.sqrt(np.mean(error[1:] ** 2)) < factor / MEMBERS**0.5
    own = np.einsum("tij,tkj->tik", states.chol_cov, states.chol_cov)
    unit = spread[:, :, None] * spread[:, None]
    assert np.sqrt(np.mean(((own - covariance) / unit)[1:] ** 2)) < 2 * factor / MEMBERS**0.5


# a Kalman filter keeps the noise of one draw of members; weights add some of their own
@pytest.mark.parametrize("analysis, factor", [(kd.EnKF(), 2), (kd.ETKF(), 2), (kd.SIR(), 4)])
def test_agrees_with_the_exact_filter(analysis, factor):
    _, states = filtered(analysis)
    assert states.ensemble.shape == (CYCLES + 1, MEMBERS, 2) and states.n_particles == MEMBERS
    assert states.info.ok.all() and (states.info.ess > 1).all()
    agrees(states, exact(), factor)


def test_an_observation_of_this_package():
    _, states = filtered(kd.EnKF(), get_own_observations)
    agrees(states, exact(0.5 * np.eye(2)), 2)


def test_roots_of_every_shape_are_the_same_noise():
    for root in (0.5, jnp.full(2, 0.5), 0.5 * jnp.eye(2)):
        observation, _ = interop.cuthbert.measurement_of((kd.Identity(), root, jnp.zeros(2)))
        noise = observation.covariance(2, jnp.float32, jnp.zeros(()))
        np.testing.assert_array_equal(noise, 0.25 * np.eye(2))


def test_cuthberts_smoother_takes_the_states():
    from cuthbert.ensemble_kalman import ensemble_rts_smoother
    from cuthbert.gaussian import kalman
    from cuthbert.smoothing import smoother

    _, states = filtered(kd.EnKF())
    built = ensemble_rts_smoother.build_smoother()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        ours = smoother(built, states, measured())
    nothing = jnp.zeros(2)
    rts = kalman.build_smoother(lambda inputs: (jnp.asarray(MATRIX), nothing, jnp.asarray(ROOT_Q)))
    theirs = smoother(rts, exact(), measured())
    spread = np.sqrt(np.einsum("tij,tij->ti", theirs.chol_cov, theirs.chol_cov))
    error = (np.asarray(ours.mean) - np.asarray(theirs.mean)) / spread
    assert np.sqrt(np.mean(error[1:] ** 2)) < 3 / MEMBERS**0.5


def test_online_is_the_same_as_offline():
    built, states = filtered(kd.EnKF())
    key = jax.random.key(1)
    state = built.init_prepare(key=key)
    for k, own in enumerate(jax.random.split(key, CYCLES)[:3]):
        prepared = built.filter_prepare(measured()[k], key=own)
        state = built.filter_combine(state, prepared)
        np.testing.assert_allclose(state.mean, states.mean[k + 1], rtol=1e-4, atol=1e-5)


def test_wrong_arguments_are_refused():
    rest = init_sample, get_dynamics, get_observations
    with pytest.raises(ValueError, match="n_particles: expected at least 2, got 1"):
        cuthbert_filter(kd.EnKF(), *rest, 1)
    with pytest.raises(TypeError, match="analysis: expected an object with `analyse`"):
        cuthbert_filter(kd.EnKF, *rest, 10)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="key: expected a random key, got None"):
        cuthbert_filter(kd.EnKF(), *rest, 10).init_prepare()
    four = cuthbert_filter(kd.EnKF(), init_sample, get_dynamics, lambda i: (1, 2, 3, 4), 10)
    state = four.init_prepare(key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"get_observations: expected .* got 4 values"):
        four.filter_combine(state, four.filter_prepare(jnp.zeros(2), key=jax.random.key(1)))
