"""Proper scores of a whole ensemble: CRPS per coordinate, energy score over all of them."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float
from ..numerics import safe_sqrt, sort_columns
from ..pairwise import mean_distance
from . import _inputs


def crps(
    ensemble: Float[Array, "*t n d"], truth: Float[Array, "*t d"], fair: bool = False
) -> Float[Array, "*t d"]:
    r"""Continuous ranked probability score of each coordinate.

    $$\mathrm{CRPS} = \tfrac1n \sum_i |x_i - y| - \tfrac{1}{2 n^2} \sum_{i,j} |x_i - x_j|$$

    The double sum is taken from the sorted members, sum_ij |x_i - x_j| = 2 sum_k (2k - n - 1) x_(k)
    for k = 1..n, so the cost is O(n log n). With ``fair=True`` it is divided by n (n - 1) instead
    of n squared: the score is then an unbiased estimate of that of the distribution behind the
    members, so ensembles of different sizes may be compared.

    Healthy: smaller is better and 0 is perfect; for one member it is the absolute error. A
    calibrated Gaussian ensemble of standard deviation s scores s / sqrt(pi) = 0.56 s on average.
    Unlike the error of the mean it rewards an honest width and stays meaningful with several peaks.
    The fair version may be slightly negative.

    Args:
        ensemble: Equally weighted members.
        truth: True states.
        fair: Whether to remove the bias of a finite ensemble.

    Returns:
        The score of every coordinate, in its units.

    Raises:
        ValueError: If the shapes do not go together, or ``fair`` is asked of fewer than two
            members.
        TypeError: If an argument is not floating-point or the dtypes differ.

    Source: Gneiting and Raftery (2007), JASA 102, 359; fair version Ferro (2014), QJRMS 140, 1917;
    sorted form Jordan, Krueger and Lerch (2019), J. Stat. Software 90(12).
    """
    ensemble, truth = _inputs.ensemble_and_truth(ensemble, truth, min_members=2 if fair else 1)
    return _crps(ensemble, truth, fair)


@functools.partial(jax.jit, static_argnames="fair")
def _crps(ensemble: Array, truth: Array, fair: bool) -> Array:
    n = ensemble.shape[-2]
    # Both terms ignore a common shift; taking the truth off first keeps float32's digits.
    errors = ensemble - truth[..., None, :]
    errors = jnp.moveaxis(sort_columns(jnp.moveaxis(errors, -2, 0)), 0, -2)
    coefficients = 2 * jnp.arange(1, n + 1, dtype=errors.dtype) - (n + 1)
    coefficients = jnp.expand_dims(coefficients, (*range(errors.ndim - 2), -1))
    pairs = jnp.sum(coefficients * errors, axis=-2) / (n * (n - 1) if fair else n * n)
    return jnp.mean(jnp.abs(errors), axis=-2) - pairs


def energy_score(
    ensemble: Float[Array, "*t n d"], truth: Float[Array, "*t d"], fair: bool = False
) -> Float[Array, "*t"]:
    r"""Energy score: the CRPS for all coordinates together.

    $$\mathrm{ES} = \tfrac1n \sum_i \lVert x_i - y \rVert
    - \tfrac{1}{2 n^2} \sum_{i,j} \lVert x_i - x_j \rVert$$

    Cycles are scored one after the other and pairs are formed in tiles: O(n^2 d) time, memory O(n)
    times a tile.

    Healthy: smaller is better, 0 is perfect; in one dimension it is the CRPS. It sees location and
    width well and dependence between coordinates only weakly, and, being proper, it favours the
    true posterior also when that has several peaks. Coordinates with larger units dominate: scale
    first if they differ.

    Args:
        ensemble: Equally weighted members.
        truth: True states.
        fair: Whether to divide the double sum by n (n - 1), which removes the bias of a finite
            ensemble.

    Returns:
        The score of each cycle, in the units of the state.

    Raises:
        ValueError: If the shapes do not go together, or ``fair`` is asked of fewer than two
            members.
        TypeError: If an argument is not floating-point or the dtypes differ.

    Source: Gneiting and Raftery (2007), JASA 102, 359, section 4.3; fair version Ferro (2014),
    QJRMS 140, 1917.
    """
    ensemble, truth = _inputs.ensemble_and_truth(ensemble, truth, min_members=2 if fair else 1)
    return _energy_score(ensemble, truth, fair)


@functools.partial(jax.jit, static_argnames="fair")
def _energy_score(ensemble: Array, truth: Array, fair: bool) -> Array:
    *lead, n, d = ensemble.shape
    half = 0.5 * (n / (n - 1) if fair else 1.0)

    def one(cycle: tuple[Array, Array]) -> Array:
        members, target = cycle
        return jnp.mean(_norm(members - target[None, :])) - half * mean_distance(members, members)

    count = math.prod(lead)
    cycles = (ensemble.reshape((count, n, d)), truth.reshape((count, d)))
    return lax.map(one, cycles).reshape(tuple(lead))


def _norm(x: Float[Array, "*b d"]) -> Float[Array, "*b"]:
    """Euclidean length whose gradient at the origin is 0 rather than NaN."""
    return safe_sqrt(jnp.sum(x * x, axis=-1))
