r"""What chance has in the relations of few members to the measurements near a coordinate.

With r the sample correlation of coordinate j and the prediction of component k, N members give r^2
a mean of about (1 - r^2) / (N - 2) where there is no relation. The gain P_jk / (P_kk + R_k) is to
be multiplied by 1 - q,

    q_jk = min(1, c f_j (1 - r^2) / ((N - 2) r^2)),     f_j = sum_k rho_jk K_k / (N - 1),

K_k = P_kk / (P_kk + R_k). To leading order f_j is what the errors of all gains near j add to its
variance, in parts of it (`SamplingInflation`). Where that is little, as for accurate forecasts with
weak measurements, little can be gained by a correction, and its own noise costs more. What a local
analysis multiplies is not the gain but the precision 1 / R_k, on top of the taper rho_jk by

    (1 - q_jk) / (1 + q_jk P_kk / R_k),

with which the gain is that to be had.

Source: the sampling error corrections of Anderson 2012, Mon. Wea. Rev. 140, 2359, and the positive
part of a James and Stein shrinkage; f_j and the way from gain to precision are our own.
"""

from __future__ import annotations

import jax.numpy as jnp

from .._typing import Array, Float, Scalar
from ..numerics import dot, safe_sqrt
from .neighbours import Neighbourhoods, Neighbours, each_neighbourhood


def without_chance(
    near: Neighbourhoods,
    anomalies: Float[Array, "n d"],
    deviations: Float[Array, "n m"],
    signal: Float[Array, " m"],
    shrinkage: Scalar,
) -> Neighbourhoods:
    """Return the same measurements near every coordinate, with weights that chance has no part in.

    Analyses that coordinates share have no correlations of their own, and keep their weights; so do
    those of one or two members.

    Args:
        near: the measurements near every coordinate, with their tapers.
        anomalies: of the members.
        deviations: of their predictions, 0 in missing components.
        signal: P_kk / R_k of every component, 0 in missing ones.
        shrinkage: c; 0 leaves the weights as they are.
    """
    n = anomalies.shape[0]
    if near.shared is not None or n < 3:
        return near
    eps = float(jnp.finfo(anomalies.dtype).eps)
    signal = jnp.minimum(signal, 8 / eps)  # see `Predicted.resolved`: precisions so unequal at most

    def corrected(near: Neighbours, row: Float[Array, " n"], seen: tuple) -> Float[Array, " k"]:
        columns, signal = (near.of(each) for each in seen)
        square = jnp.minimum(dot(columns, row[:, None])[:, 0] ** 2, 1)
        of_gains = jnp.sum(near.weights * signal / (1 + signal)) / (n - 1)
        chance = shrinkage * of_gains * (1 - square) / (n - 2)
        part = jnp.minimum(1, chance / jnp.maximum(square, eps))
        return near.weights * (1 - part) / (1 + part * signal)

    rows = unit(anomalies).T, unit(deviations).T
    return near.with_weights(
        each_neighbourhood(corrected, near, rows[0], measured=(rows[1], signal))
    )


def unit(anomalies: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Return columns of length 1, and 0 of a constant."""
    return anomalies / safe_sqrt(jnp.sum(anomalies**2, axis=0, keepdims=True), otherwise=1.0)
