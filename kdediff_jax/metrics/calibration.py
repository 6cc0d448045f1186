"""Is the ensemble's width honest? Rank histograms, a test of their flatness, and coverage."""

import functools

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaincc

from .._typing import Array, Float, Int, Key
from ..numerics import sort_columns
from . import _inputs

_NAMES = ("ensembles", "truths")
_MIN_EXPECTED = 5


def rank_histogram(
    ensembles: Float[Array, "t n d"],
    truths: Float[Array, "t d"],
    *,
    key: Key | None = None,
) -> Int[Array, "d n+1"]:
    """How often the truth took each rank among the members, per coordinate.

    The rank is the number of members below the truth, 0 to n. Members that equal the truth are tied
    with it: with a ``key`` the rank is drawn evenly from those that the tie allows (right for
    rounded or discrete states), without one it is the lowest of them.

    Healthy: flat, about t / (n + 1) everywhere. A U says overconfident, a dome says too wide, a
    slope says biased; test it with `rank_flatness`. Flatness alone is not skill: the climatology is
    flat as well.

    Args:
        ensembles: Equally weighted members of every cycle.
        truths: True states.
        key: Breaks ties at random.

    Returns:
        Counts of each rank. A cycle where the truth or any member of a coordinate is NaN has no
        rank and is not counted there, so compare the sum with t.

    Raises:
        ValueError: If the shapes do not go together.
        TypeError: If an argument is not floating-point or the dtypes differ.

    Source: Hamill (2001), Monthly Weather Review 129, 550.
    """
    ensembles, truths = _cycles(ensembles, truths)
    return _count_ranks(ensembles, truths, key)


@jax.jit
def _count_ranks(ensembles: Array, truths: Array, key: Key | None) -> Array:
    _, n, d = ensembles.shape
    rank = jnp.sum(ensembles < truths[:, None, :], axis=1, dtype=jnp.int32)
    if key is not None:
        ties = jnp.sum(ensembles == truths[:, None, :], axis=1, dtype=jnp.int32)
        rank = rank + jax.random.randint(key, rank.shape, 0, ties + 1, jnp.int32)
    valid = ~(jnp.isnan(truths) | jnp.any(jnp.isnan(ensembles), axis=1))
    rows = jnp.broadcast_to(jnp.arange(d)[None, :], rank.shape)
    return jnp.zeros((d, n + 1), jnp.int32).at[rows, rank].add(valid.astype(jnp.int32))


def rank_flatness(
    counts: Int[Array, "*b k"], num_bins: int | None = None
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    r"""Chi-square test that a rank histogram is flat.

    $$\chi^2 = \sum_b (O_b - E_b)^2 / E_b, \qquad p = Q\big(\tfrac{B-1}{2}, \tfrac{\chi^2}{2}\big)$$

    Adjacent ranks are pooled into B bins first, because the chi-square law needs about five
    expected counts in each. E_b is proportional to the number of ranks in the bin, so bins need not
    be equally wide.

    Healthy: a p-value that is not small; under a calibrated ensemble it is uniform on [0, 1].
    Successive cycles are correlated, which makes the counts clump and p too small even for a
    calibrated filter: thin the cycles to about the decorrelation time, or pool independent runs,
    before reading p as a probability. With very many counts any filter fails; then judge the size
    of the departure instead.

    Args:
        counts: Counts of each rank, as from `rank_histogram`.
        num_bins: Number of bins, B. If not given, for each row the largest that leaves five
            expected counts per bin.

    Returns:
        Statistic and p-value of each row; NaN for a row that is empty or, unless ``num_bins`` is
        given, has fewer than ten counts.

    Raises:
        ValueError: If there are fewer than two ranks or ``num_bins`` is not between 2 and their
            number.
        TypeError: If the counts are not integers.

    Source: Hamill (2001), Monthly Weather Review 129, 550; Jolliffe and Primo (2008), MWR 136,
    2133.
    """
    counts = jnp.asarray(counts)
    if not jnp.issubdtype(counts.dtype, jnp.integer):
        raise TypeError(f"counts: expected an integer dtype, got {counts.dtype}")
    if counts.ndim < 1 or counts.shape[-1] < 2:
        raise ValueError(
            f"counts: expected at least 2 ranks on the last axis, got shape {counts.shape}"
        )
    k = counts.shape[-1]
    if num_bins is not None and not 2 <= num_bins <= k:
        raise ValueError(f"num_bins: expected 2 to the number of ranks, {k}, got {num_bins}")
    return _flatness(counts, num_bins)


@functools.partial(jax.jit, static_argnames="num_bins")
def _flatness(counts: Array, num_bins: int | None) -> tuple[Array, Array]:
    rows = counts.reshape((-1, counts.shape[-1]))
    statistic, freedom = jax.vmap(lambda row: _chi_square(row, num_bins))(rows)
    p_value = gammaincc(freedom / 2, statistic / 2)
    return statistic.reshape(counts.shape[:-1]), p_value.reshape(counts.shape[:-1])


def coverage(
    ensembles: Float[Array, "t n d"], truths: Float[Array, "t d"], level: float = 0.9
) -> Float[Array, " d"]:
    r"""Fraction of cycles with the truth in the ensemble's central interval, per coordinate.

    The interval runs between the quantiles p = (1 - level)/2 and (1 + level)/2, taken at position
    p (n + 1) among the sorted members and linear in between: the truth of a calibrated ensemble
    falls below the i-th of n members with probability i/(n + 1), so this interval holds the level
    at every n, where the usual quantiles would give level (n - 1)/(n + 1). With fewer than
    2/(1 - level) - 1 members (19 for 90 %) it is the whole range and cannot reach the level:
    expect (n - 1)/(n + 1).

    Healthy: the level, within sqrt(level (1 - level) / t) (more, as cycles are correlated). Below
    it the ensemble is overconfident, above it too wide.

    Args:
        ensembles: Equally weighted members of every cycle.
        truths: True states.
        level: Nominal probability of the interval, in (0, 1).

    Returns:
        The fraction of each coordinate; NaN if any of its values is NaN.

    Raises:
        ValueError: If the shapes do not go together or the level is not in (0, 1).
        TypeError: If an argument is not floating-point or the dtypes differ.

    Source: Gneiting, Balabdaoui and Raftery (2007), JRSS B 69, 243; quantile position Hyndman and
    Fan (1996), type 6.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number in (0, 1), got {level}")
    ensembles, truths = _cycles(ensembles, truths)
    ordered = jnp.moveaxis(sort_columns(jnp.moveaxis(ensembles, 1, 0)), 0, 1)
    lower = _order_statistic(ordered, (1 - level) / 2)
    upper = _order_statistic(ordered, (1 + level) / 2)
    inside = ((lower <= truths) & (truths <= upper)).astype(ordered.dtype)
    missing = jnp.isnan(truths) | jnp.isnan(ordered[:, -1])  # one NaN is enough
    return jnp.mean(jnp.where(missing, jnp.full_like(inside, jnp.nan), inside), axis=0)


def _cycles(ensembles: Array, truths: Array) -> tuple[Array, Array]:
    ensembles, truths = _inputs.ensemble_and_truth(ensembles, truths, names=_NAMES)
    if ensembles.ndim != 3:
        raise ValueError(f"ensembles: expected shape (cycles, members, d), got {ensembles.shape}")
    return ensembles, truths


def _order_statistic(ordered: Float[Array, "t n d"], probability: float) -> Float[Array, "t d"]:
    n = ordered.shape[1]
    position = min(max(probability * (n + 1) - 1, 0.0), n - 1.0)
    below = int(position)
    above, fraction = min(below + 1, n - 1), position - below
    return (1 - fraction) * ordered[:, below] + fraction * ordered[:, above]


def _chi_square(
    row: Int[Array, " k"], num_bins: int | None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Statistic and degrees of freedom of one histogram.

    Bins beyond the chosen number stay empty, so that shapes do not depend on the counts.
    """
    k = row.shape[0]
    total = jnp.sum(row)
    if num_bins is None:
        per_bin = -(-_MIN_EXPECTED * k // jnp.maximum(total, 1))
        bins = jnp.clip(k // per_bin, 2, k)
        enough = total >= 2 * _MIN_EXPECTED
    else:
        bins = jnp.full_like(total, num_bins)
        enough = total > 0
    bin_of_rank = jnp.arange(k, dtype=bins.dtype) * bins // k
    dtype = jnp.result_type(float)
    observed = jax.ops.segment_sum(row, bin_of_rank, num_segments=k).astype(dtype)
    ranks = jax.ops.segment_sum(jnp.ones_like(row), bin_of_rank, num_segments=k).astype(dtype)
    expected = ranks * (total.astype(dtype) / k)
    terms = (observed - expected) ** 2 / jnp.where(expected > 0, expected, jnp.ones_like(expected))
    statistic = jnp.where(enough, jnp.sum(terms), jnp.full((), jnp.nan, dtype))
    return statistic, (bins - 1).astype(dtype)
