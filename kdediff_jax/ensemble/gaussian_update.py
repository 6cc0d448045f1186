r"""A Gaussian update in array form, by N or by m unknowns, whichever are fewer.

In coordinates in which R = 1, with F the anomalies of the predictions and A those of the members,
both over sqrt(N - 1), innovations e and S = F^T F + 1, it takes

    steps A^T F S^{-1} e,   covariance A^T (1 + F F^T)^{-1} A,   misfits e^T S^{-1} e.

Fewer members than measurements (N < m) leave w = (1 + F F^T)^{-1} F e, the solution of the least
squares problem |e - F^T w|^2 + |w|^2: the steps are A^T w, the misfits that minimum, and with L the
triangular root of 1 + F F^T the covariance has the rows L^{-1} A. No [m m] matrix is formed:
O(N^2 m + N^3). Else it is the triangular root of [[1, 0], [F, A]] (the array form of the Kalman
update, Kailath, Sayed and Hassibi 2000, Section 12.3). Neither subtracts anything, so that a
covariance far smaller than that of the forecast keeps its digits.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from .._typing import Array, Float
from ..numerics import cho_solve, dot, solve_lower, triangular_root


class GaussianUpdate(NamedTuple):
    """What an update does with k innovations, see the module.

    Attributes:
        misfits: rows whose squared lengths are e^T S^{-1} e [k *].
        steps: [k d].
        rows: [r d], whose product with themselves is the covariance.
    """

    misfits: Float[Array, "k r"]
    steps: Float[Array, "k d"]
    rows: Float[Array, "r d"]


def fewer_members(deviations: Float[Array, "n m"]) -> bool:
    """Return whether N < m, and the system of N unknowns is the smaller one."""
    return deviations.shape[0] < deviations.shape[1]


def gaussian_update(
    deviations: Float[Array, "n m"],
    anomalies: Float[Array, "n d"],
    innovations: Float[Array, "k m"],
) -> GaussianUpdate:
    """Return the update.

    Args:
        deviations: F, whitened.
        anomalies: A.
        innovations: e, whitened.
    """
    if fewer_members(deviations):
        root, weights, misfits = _by_members(deviations, innovations)
        return GaussianUpdate(misfits, dot(weights, anomalies), solve_lower(root, anomalies))
    m, d = deviations.shape[1], anomalies.shape[1]
    below = jnp.concatenate([deviations, anomalies], axis=1)
    # fewer members than coordinates leave nothing: rows of zeros, for QR
    fill = jnp.zeros((max(0, d - below.shape[0]), m + d), below.dtype)
    unit = jnp.eye(m, m + d, dtype=below.dtype)
    whole = triangular_root(jnp.concatenate([unit, below, fill]))
    misfits = solve_lower(whole[:m, :m], innovations.T).T
    return GaussianUpdate(misfits, dot(misfits, whole[m:, :m].T), whole[m:, m:].T)


def misfit_rows(
    deviations: Float[Array, "n m"], innovations: Float[Array, "k m"]
) -> Float[Array, "k r"]:
    """Return the rows whose squared lengths are e^T S^{-1} e alone."""
    if fewer_members(deviations):
        return _by_members(deviations, innovations)[2]
    unit = jnp.eye(deviations.shape[1], dtype=deviations.dtype)
    root = triangular_root(jnp.concatenate([unit, deviations]))
    return solve_lower(root, innovations.T).T


def _by_members(
    deviations: Float[Array, "n m"], innovations: Float[Array, "k m"]
) -> tuple[Float[Array, "n n"], Float[Array, "k n"], Float[Array, "k r"]]:
    """Return L, w and the rows [e - F^T w, w]."""
    unit = jnp.eye(deviations.shape[0], dtype=deviations.dtype)
    root = triangular_root(jnp.concatenate([unit, deviations.T]))
    weights = cho_solve(root, dot(deviations, innovations.T))
    # corrected once, the seminormal equations are as good as a QR (Björck 1987)
    rest = innovations.T - dot(deviations.T, weights)
    weights = (weights + cho_solve(root, dot(deviations, rest) - weights)).T
    return root, weights, jnp.concatenate([innovations - dot(weights, deviations), weights], axis=1)
