r"""Kalman gains and the stochastic Kalman update of an ensemble, in coordinates in which R = 1.

With P_xh, P_hh the covariances of state and prediction, a share g of the log-likelihood (a noise of
R / g) moves member i by

    P_xh (g P_hh + 1)^{-1} (g (y - h(x_i)) + sqrt(g) e_i),      e_i ~ N(0, 1),

the perturbed-observation update of Burgers, van Leeuwen and Evensen (1998); g = 1 is theirs. With
P_xh = X^T Y and P_hh = Y^T Y, of r rows each,

    P_xh (g P_hh + 1)^{-1} = X^T Y (1 + g Y^T Y)^{-1} = X^T (1 + g Y Y^T)^{-1} Y:

the smaller of the two systems is solved, and where r < m there is no [m m] matrix.
"""

from __future__ import annotations

import jax.numpy as jnp

from .._typing import Array, Float, Key, Scalar, like
from ..numerics import centred, dot, normal, solve_positive
from .covariance import Covariances
from .gaussian_update import fewer_members


def kalman_step(
    covariances: Covariances, pull: Float[Array, "n m"], share: Scalar | float = 1.0
) -> Float[Array, "n d"]:
    """Return P_xh (g P_hh + 1)^{-1} times the pull of every member.

    Args:
        covariances: of the whole ensemble, or one pair for every member.
        pull: g (y - h(x_i)) + sqrt(g) e_i, whitened, 0 in missing components.
        share: g, of the log-likelihood.
    """
    x, y = covariances
    across = _transposed(y)
    # members are rows of one system, or of one each
    rows = pull[None] if y.shape[0] == 1 else pull[:, None]
    if fewer_members(y[0]):
        weights = _solved(dot(y, across), dot(y, _transposed(rows)), share)
        step = dot(_transposed(weights), x)
    elif rows.shape[1] > x.shape[2]:  # the gain has fewer right-hand sides than the pull
        step = dot(rows, _solved(dot(across, y), dot(across, x), share))
    else:
        weights = _solved(dot(across, y), _transposed(rows), share)
        step = dot(_transposed(weights), dot(across, x))
    return step.reshape(pull.shape[0], -1)


def _solved(
    gram: Float[Array, "k s s"], right: Float[Array, "k s c"], share: Scalar | float
) -> Float[Array, "k s c"]:
    """Return (1 + share gram)^{-1} times the right-hand sides."""
    unit = jnp.eye(gram.shape[-1], dtype=gram.dtype)
    return solve_positive(like(gram, share) * gram + unit[None], right)


def _transposed(a: Float[Array, "k r s"]) -> Float[Array, "k s r"]:
    return jnp.swapaxes(a, 1, 2)


def degrees_of_freedom(deviations: Float[Array, "n m"]) -> Scalar:
    """Return tr(P_hh (P_hh + R)^{-1}), how many numbers the measurement determines.

    Args:
        deviations: R^{-1/2} Y, anomalies of the predictions.
    """
    scaled = deviations / (deviations.shape[0] - 1) ** 0.5
    scaled = scaled if fewer_members(scaled) else scaled.T
    gram = dot(scaled, scaled.T)[None]
    return jnp.trace(_solved(gram, gram, 1.0)[0])


def centred_normals(key: Key, n: int, m: int, dtype: jnp.dtype) -> Float[Array, "n m"]:
    """Return n draws of N(0, 1) moved to sample mean 0; the variance that this costs is restored.

    Args:
        key: random key.
        n: number of draws.
        m: their components.
        dtype: of them.
    """
    # drawn as one row: of the same bits, and on a CPU a hash over short rows takes twice as long
    draws = normal(key, (n * m,), dtype).reshape(n, m)
    return centred(draws) * (n / (n - 1)) ** 0.5


def secant(
    pull: Float[Array, "n m"], response: Float[Array, "n m"], share: Scalar | float = 1.0
) -> Float[Array, "n 1"]:
    r"""Return the part of every member's step to take: all of it, unless it overshoots.

    With e_i the innovation of a member and r_i = h(x_i + step_i) - h(x_i) what its step does to it,
    the least |e_i - t r_i| has t = <e_i, r_i> / <r_i, r_i>, cut to [0, 1]. For linear h and a gain
    of one covariance r = P_hh (P_hh + 1)^{-1} e, and t is 1. Where h is flat around a member and
    steep further on, a step by its slope goes beyond all reason.

    Args:
        pull: share times e_i, whitened.
        response: r_i, whitened.
        share: of the likelihood.
    """
    along = jnp.sum(pull * response, axis=1)
    square = like(pull, share) * jnp.sum(response**2, axis=1)
    cut = jnp.clip(along / jnp.where(square > 0, square, 1), 0, 1)
    # all of the step where nothing responds, none where the response is not finite
    part = jnp.where(square == 0, 1, jnp.where(jnp.isfinite(square), cut, 0))
    return part[:, None]
