r"""Kalman gains and the stochastic Kalman update of an ensemble.

With P_xh, P_hh the covariances of state and prediction, a share g of the log-likelihood (a noise of
R / g) moves member i by

    g P_xh (g P_hh + R)^{-1} (y + e_i / sqrt(g) - h(x_i)),      e_i ~ N(0, R),

the perturbed-observation update of Burgers, van Leeuwen and Evensen (1998); g = 1 is theirs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._typing import Array, Float, Key, Scalar, like
from ..numerics import centred, cholesky, dot, solve_lower, solve_positive
from .covariance import Covariances, whole_ensemble


def gain(
    covariances: Covariances, noise: Float[Array, "m m"], share: Scalar | float = 1.0
) -> Float[Array, "k d m"]:
    """Return P_xh (share P_hh + R)^{-1}: share times it is the gain for the noise R / share."""
    s = like(noise, share) * covariances.signal + noise[None]
    return jnp.swapaxes(solve_positive(s, jnp.swapaxes(covariances.cross, 1, 2)), 1, 2)


def stochastic_step(
    covariances: Covariances,
    innovation: Float[Array, "n m"],
    perturbation: Float[Array, "n m"],
    noise: Float[Array, "m m"],
    share: Scalar | float = 1.0,
) -> tuple[Float[Array, "n d"], Float[Array, "n m"]]:
    """Return every member's step by the stochastic Kalman update, and what pulled it.

    Args:
        covariances: of the whole ensemble, or one pair for every member.
        innovation: y - h(x_i), 0 in missing components.
        perturbation: e_i of covariance R, 0 in missing components.
        noise: R, missing components cut off.
        share: g, of the log-likelihood.
    """
    share = like(noise, share)
    pull = share * innovation + jnp.sqrt(share) * perturbation
    gains = gain(covariances, noise, share)
    if gains.shape[0] == 1:
        return dot(pull, gains[0].T), pull
    return dot(gains, pull[:, :, None])[:, :, 0], pull


def step_of_many(
    anomalies: Float[Array, "n d"], deviations: Float[Array, "n m"], pull: Float[Array, "n m"]
) -> tuple[Float[Array, "n d"], Scalar]:
    """Return the same step, all of the likelihood in units of R = 1, and the degrees of freedom.

    Args:
        anomalies: of the members.
        deviations: R^{-1/2} Y, of their predictions.
        pull: R^{-1/2} (y + e_i - h(x_i)), of every member.
    """
    m = deviations.shape[1]
    covariances = whole_ensemble(anomalies, deviations)
    unit = jnp.eye(m, dtype=deviations.dtype)
    step = dot(pull, gain(covariances, unit)[0].T)
    return step, degrees_of_freedom(covariances.signal[0], unit)


def step_of_few(
    anomalies: Float[Array, "n d"], deviations: Float[Array, "n m"], pull: Float[Array, "n m"]
) -> tuple[Float[Array, "n d"], Scalar]:
    r"""Return the same by a system of N unknowns, for N < m.

    With S = Y / sqrt(N - 1) and A anomalies over sqrt(N - 1), both of the whole ensemble,

        P_xh (P_hh + 1)^{-1} = A^T S (1 + S^T S)^{-1} = A^T (1 + S S^T)^{-1} S:

    no [m m] matrix. Arguments as `step_of_many`.
    """
    n = anomalies.shape[0]
    scaled = deviations / (n - 1) ** 0.5
    gram = dot(scaled, scaled.T)
    system = gram + jnp.eye(n, dtype=gram.dtype)
    found = solve_positive(system, jnp.concatenate([dot(scaled, pull.T), gram], axis=1))
    step = dot(found[:, :n].T, anomalies) / (n - 1) ** 0.5
    return step, jnp.trace(found[:, n:])


def degrees_of_freedom(signal: Float[Array, "m m"], noise: Float[Array, "m m"]) -> Scalar:
    """Return tr(P_hh (P_hh + R)^{-1}), how many numbers the measurement determines."""
    return jnp.trace(solve_positive(signal + noise, signal))


def centred_perturbations(key: Key, n: int, noise: Float[Array, "m m"]) -> Float[Array, "n m"]:
    """Return n draws of N(0, R) moved to sample mean 0; the variance that this costs is restored.

    Args:
        key: random key.
        n: number of draws.
        noise: R.
    """
    return dot(centred_normals(key, n, noise.shape[0], noise.dtype), cholesky(noise).T)


def centred_normals(key: Key, n: int, m: int, dtype: jnp.dtype) -> Float[Array, "n m"]:
    """Return the same with R = 1."""
    draws = jax.random.normal(key, (n * m,), dtype).reshape(n, m)
    return centred(draws) * (n / (n - 1)) ** 0.5


def secant(
    pull: Float[Array, "n m"],
    response: Float[Array, "n m"],
    noise: Float[Array, "m m"],
    share: Scalar | float = 1.0,
) -> Float[Array, "n 1"]:
    r"""Return the part of every member's step to take: all of it, unless it overshoots.

    With e_i the innovation of a member and r_i = h(x_i + step_i) - h(x_i) what its step does to it,
    the least |e_i - t r_i| in the metric of R^{-1} has t = <e_i, r_i> / <r_i, r_i>, cut to [0, 1].
    For linear h and a gain of one covariance r = P_hh (P_hh + R)^{-1} e, and t is 1. Where h is
    flat around a member and steep further on, a step by its slope goes beyond all reason.

    Args:
        pull: share times e_i.
        response: r_i.
        noise: R.
        share: of the likelihood.
    """
    n = pull.shape[0]
    scaled = solve_lower(cholesky(noise), jnp.concatenate([pull, response]).T)
    e, r = scaled[:, :n], scaled[:, n:]
    along, square = jnp.sum(e * r, axis=0), like(noise, share) * jnp.sum(r**2, axis=0)
    cut = jnp.clip(along / jnp.where(square > 0, square, 1), 0, 1)
    # all of the step where nothing responds, none where the response is not finite
    part = jnp.where(square == 0, 1, jnp.where(jnp.isfinite(square), cut, 0))
    return part[:, None]
