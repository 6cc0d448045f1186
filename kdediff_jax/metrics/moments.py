"""Scores of the ensemble's first two moments, and the effective number of weighted members."""

import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float
from . import _inputs


def rmse(mean: Float[Array, "*t d"], truth: Float[Array, "*t d"]) -> Float[Array, "*t"]:
    r"""Root-mean-square error of the ensemble mean, one number per cycle.

    $$\mathrm{RMSE}_t = \Big(\tfrac1d \sum_k (\bar x_{t,k} - x_{t,k})^2\Big)^{1/2}$$

    The mean runs over coordinates only; averaging over cycles (after burn-in) and over runs is left
    to the caller, in that order, as is the custom in data assimilation.

    Healthy: well below the climatological value (about 3.6 for Lorenz-96 at F = 8; more means a
    diverged filter), usually below the measurement noise, and close to `spread`. It says nothing on
    a posterior with several peaks: the best possible mean lies between them, where the truth never
    is.

    Args:
        mean: Ensemble means.
        truth: True states, same shape.

    Returns:
        The error of each cycle, in the units of the state.

    Raises:
        ValueError: If the shapes differ or there is no coordinate axis.
        TypeError: If an argument is not floating-point or the dtypes differ.

    Source: Sakov and Oke (2008), Tellus A 60, section 4.
    """
    mean = _inputs.floating("mean", mean, 1)
    truth = _inputs.matching("truth", truth, mean.shape, mean, "mean")
    return jnp.sqrt(jnp.mean((mean - truth) ** 2, axis=-1))


def spread(ensemble: Float[Array, "*t n d"]) -> Float[Array, "*t"]:
    r"""Ensemble spread, one number per cycle: the RMSE that the ensemble itself expects.

    $$\mathrm{spread}_t = \Big(\tfrac1d \sum_k \tfrac{1}{n-1}
    \sum_i (x_{t,i,k} - \bar x_{t,k})^2\Big)^{1/2}$$

    Healthy: averaged (as squares) over many cycles it equals the `rmse` of the mean divided by
    sqrt(1 + 1/n). Smaller means overconfident, on the way to divergence; larger means cautious.

    Args:
        ensemble: Equally weighted members, at least two.

    Returns:
        The spread of each cycle, in the units of the state.

    Raises:
        ValueError: If there are fewer than two axes or fewer than two members.
        TypeError: If the ensemble is not floating-point.

    Source: Fortin, Abaza, Anctil and Turcotte (2014), J. Hydrometeorology 15, 1708.
    """
    ensemble = _inputs.floating("ensemble", ensemble, 2)
    if ensemble.shape[-2] < 2:
        raise ValueError(
            f"ensemble: expected at least 2 members on axis -2, got shape {ensemble.shape}"
        )
    return jnp.sqrt(jnp.mean(jnp.var(ensemble, axis=-2, ddof=1), axis=-1))


def effective_sample_size(log_weights: Float[Array, "*t n"]) -> Float[Array, "*t"]:
    r"""Effective number of members behind a set of importance weights.

    $$\mathrm{ESS} = \frac{(\sum_i w_i)^2}{\sum_i w_i^2} \in [1, n]$$

    computed from the logarithms, so weights of any size (and not normalised) are fine.

    Healthy: tens of members at least. A handful means that the update rests on a few members
    (measurement kernel too narrow for the ensemble, or too many measurements at once), and a run
    that stays there diverges.

    Args:
        log_weights: Logarithms of the weights up to a constant per row; ``-inf`` is a weight of
            zero.

    Returns:
        The effective sample size of each row; NaN where a row is all ``-inf``.

    Raises:
        ValueError: If there is no member axis.
        TypeError: If the weights are not floating-point.

    Source: Kong, Liu and Wong (1994), JASA 89, 278; Kish (1965), Survey Sampling.
    """
    log_weights = _inputs.floating("log_weights", log_weights, 1)
    # a common factor says nothing: without it the logarithms of tiny weights keep their digits
    largest = lax.stop_gradient(jnp.max(log_weights, axis=-1, keepdims=True))
    log_weights = log_weights - jnp.where(jnp.isfinite(largest), largest, 0)
    weights = jnp.exp(log_weights)  # the largest is 1: the sums need no logarithms
    return jnp.sum(weights, axis=-1) ** 2 / jnp.sum(weights**2, axis=-1)
