r"""What an innovation e = y - mean h says of the forecast's spread, for the spread correction.

With D = e^T (P_hh + R)^{-1} e, in a basis in which R = I and P_hh is diagonal. The innovation
itself is `Predicted.mean_innovation`; a run reports `AnalysisInfo.normalised_innovation`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import erf

from ..._typing import Array, Bool, Float, Scalar, like
from ...numerics import bisect_root, dot, eigh, root_of_rows

HALVINGS = 14  # of a bracket of log factors: to a thousandth


class Innovation(NamedTuple):
    """An innovation in the basis in which R = I and P_hh is diagonal.

    Attributes:
        values: lambda_k, the eigenvalues of R^{-1/2} P_hh R^{-T/2}: signal over noise.
        squares: z_k^2, the squared innovation along each of them.
        weights: w_k, 1, or 0 for components that do not count.
    """

    values: Float[Array, " r"]
    squares: Float[Array, " r"]
    weights: Float[Array, " r"]


def joint_innovation(e: Float[Array, " m"], deviations: Float[Array, "n m"]) -> Innovation:
    """Return the innovation in the eigenbasis of P_hh.

    Nothing is known, and nothing said, outside of what the members and the innovation span: where
    these are fewer than the components, all is in coordinates of that span.

    Args:
        e: whitened, 0 where nothing is measured.
        deviations: R^{-1/2} Y, anomalies of the predictions.
    """
    scaled = deviations / (deviations.shape[0] - 1) ** 0.5
    both = jnp.concatenate([scaled, e[None]])
    if both.shape[0] < both.shape[1]:
        both = root_of_rows(both.T)
    values, vectors = eigh(dot(both[:-1].T, both[:-1]))
    squares = dot(both[-1:], vectors)[0] ** 2
    return Innovation(jnp.maximum(values, 0), squares, jnp.ones_like(squares))


def componentwise_innovation(
    e: Float[Array, " m"], variance: Float[Array, " m"], noise: Float[Array, " m"]
) -> Innovation:
    """Return the innovation of components that count as independent."""
    return Innovation(variance / noise, e**2 / noise, jnp.ones_like(e))


def without_surprises(
    seen: Innovation, measured: Bool[Array, " m"], threshold: Scalar | float
) -> Innovation:
    """Return the components that are no surprise by themselves, for a factor common to all.

    Leaving the largest out makes the rest smaller than a sound Gaussian forecast says, by the
    E[z^2 | z^2 <= b] of a standard normal z: squares are divided by it.

    Args:
        seen: of every component by itself.
        measured: components that are not missing.
        threshold: standard deviations of z^2 above its mean at which a component is a surprise.
    """
    bound = 1 + like(seen.values, threshold) * 2**0.5
    weights = measured & (seen.squares <= bound * (1 + seen.values))
    cut = jnp.sqrt(bound)
    density = jnp.exp(-0.5 * bound) / (2 * jnp.pi) ** 0.5
    kept = 1 - 2 * cut * density / erf(cut / 2**0.5)
    return seen._replace(squares=seen.squares / kept, weights=weights.astype(seen.values.dtype))


def probable_factor(
    seen: Innovation, log_spread_std: Scalar | float, largest: Scalar | float
) -> Scalar:
    r"""Return the most probable factor f of the anomalies, log f^2 ~ N(0, s^2) before.

    With u = log f^2 and lambda_k, z_k^2, w_k the `Innovation`, the root of

        u / s^2 = 1/2 sum_k w_k a_k (z_k^2 / (1 + e^u lambda_k) - 1),
        a_k = e^u lambda_k / (1 + e^u lambda_k).

    Args:
        seen: the innovation.
        log_spread_std: s.
        largest: bound of f, and of 1 / f.
    """
    bound = 2 * jnp.log(like(seen.values, largest))

    def pull(u: Array) -> Array:
        scaled = jnp.exp(u) * seen.values
        each = scaled / (1 + scaled) * (seen.squares / (1 + scaled) - 1)
        return 0.5 * jnp.sum(seen.weights * each) * like(u, log_spread_std) ** 2 - u

    return jnp.exp(0.5 * bisect_root(pull, -bound, bound, HALVINGS))


def surprise_factor(
    seen: Innovation, count: Scalar, threshold: Scalar | float, largest: Scalar | float
) -> Scalar:
    r"""Return the factor of the anomalies that makes a surprising measurement credible.

    For a sound Gaussian forecast D is chi-square of `count` degrees of freedom. Where
    D > count + threshold sqrt(2 count), the smallest factor f is taken for which D(f), computed
    with f^2 P_hh, is not, at most `largest`; elsewhere 1.

    Args:
        seen: the innovation.
        count: measured components.
        threshold: standard deviations above the mean.
        largest: bound of f.
    """
    bound = count + like(count, threshold) * jnp.sqrt(2 * count)

    def surprise(log_factor: Array) -> Array:
        return jnp.sum(seen.squares / (1 + jnp.exp(2 * log_factor) * seen.values)) - bound

    none = jnp.zeros_like(bound)
    found = bisect_root(surprise, none, jnp.log(like(bound, largest)), HALVINGS)
    return jnp.exp(jnp.where(surprise(none) > 0, found, 0))
