"""The scores of a run: those that JAX can compute, and exact W2 on the host."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import metrics
from .._typing import Array, Float
from ..analysis.base import AnalysisInfo
from ..sweeping.program import available_cores
from .experiment import Experiment

SLICED_EVERY = 5
SEED_OF_DIRECTIONS = 0  # shared by all sliced distances, so that they can be compared


class Scores(NamedTuple):
    """Means over the cycles after burn-in; NaN where a score does not apply.

    `rank_p` is the smallest p-value over coordinates of the rank histogram's flatness, `coverage`
    the mean over coordinates of the 90 % interval's, `failed` the number of failed cycles.
    """

    w2: float
    energy_score: float
    crps: float
    rmse: float
    spread: float
    coverage: float
    rank_p: float
    ess: float
    steps: float
    failed: int


def compiled_scores(
    ensembles: Float[Array, "t n d"], info: AnalysisInfo, truth: Float[Array, "t d"], first: int = 0
) -> dict[str, Array]:
    """Return every score but W2, averaged over the cycles from `first` on; works under `jit`."""
    members, target, mean = ensembles[first:], truth[first:], info.mean[first:]
    t, n, _ = members.shape
    counts = metrics.rank_histogram(members, target)
    _, p_values = metrics.rank_flatness(counts, num_bins=max(2, min(n + 1, t // 10)))
    return {
        "energy_score": jnp.mean(metrics.energy_score(members, target)),
        "crps": jnp.mean(metrics.crps(members, target)),
        "rmse": jnp.mean(metrics.rmse(mean, target)),
        "spread": jnp.mean(metrics.spread(members)),
        "coverage": jnp.mean(metrics.coverage(members, target)),
        "rank_p": jnp.min(p_values),
        "ess": jnp.mean(info.ess[first:]),
        "steps": jnp.mean(info.num_steps[first:].astype(members.dtype)),
        "failed": jnp.sum(~info.ok, dtype=jnp.int32),
    }


def mean_sliced_w2(ensembles: Float[Array, "t n d"], posterior: Float[Array, "t m d"]) -> Array:
    """Return the mean over every fifth cycle of sliced W2 times sqrt(d): comparable with W2.

    64 directions. Sorting the projected draws takes half of an analysis, hence not every cycle.
    """
    key = jax.random.key(SEED_OF_DIRECTIONS)
    last = (ensembles.shape[0] - 1) % SLICED_EVERY  # the last cycle is among them
    ensembles, posterior = ensembles[last::SLICED_EVERY], posterior[last::SLICED_EVERY]
    values = lax.map(
        lambda pair: metrics.sliced_wasserstein2(key, pair[0], pair[1], 64), (ensembles, posterior)
    )
    return jnp.mean(values) * ensembles.shape[-1] ** 0.5


def compared_draws(members: int) -> int:
    """Return how many reference draws an ensemble is compared with: the paper's choice."""
    return 1000 if members <= 500 else 2000


def w2_by_cycle(
    ensembles: Float[np.ndarray, "t n d"],
    posterior: Float[np.ndarray, "t m d"],
    *,
    progress: Callable[[int], None] = lambda cycles: None,
) -> np.ndarray:
    """Return exact W2 of every cycle, on the host; NaN where a member is not finite.

    Each cycle uses `compared_draws` of the reference.
    """
    kept = compared_draws(ensembles.shape[1])
    distances = []
    with ThreadPoolExecutor(available_cores()) as pool:  # the solver does not hold Python's lock
        for distance in pool.map(metrics.wasserstein2, ensembles, posterior[:, :kept]):
            distances.append(distance)
            progress(1)
    return np.array(distances)


def mean_w2(ensembles: Float[np.ndarray, "t n d"], posterior: Float[np.ndarray, "t m d"]) -> float:
    """Return the mean over cycles of exact W2, NaN if a member is not finite."""
    return float(np.mean(w2_by_cycle(ensembles, posterior)))


@jax.jit
def scores_by_cycle(
    ensembles: Float[Array, "t n d"], mean: Float[Array, "t d"], truth: Float[Array, "t d"]
) -> dict[str, Float[Array, " t"]]:
    """Return the scores of every cycle that are those of a cycle, all but W2."""
    return {
        "energy_score": metrics.energy_score(ensembles, truth),
        "crps": jnp.mean(metrics.crps(ensembles, truth), axis=-1),
        "rmse": metrics.rmse(mean, truth),
        "spread": metrics.spread(ensembles),
    }


_compiled_scores = jax.jit(compiled_scores, static_argnums=3)


def score(
    experiment: Experiment,
    ensembles: Float[Array, "t n d"],
    info: AnalysisInfo,
    truth: Float[Array, "t d"],
    posterior: np.ndarray | None,
    *,
    progress: Callable[[int], None] = lambda cycles: None,
) -> tuple[Scores, dict[str, np.ndarray]]:
    """Score a run against the truth and, by exact W2, against the reference posterior.

    Returns:
        Means over the cycles after burn-in, and scores of every cycle by name, of which `w2` is
        NaN before.
    """
    first = min(experiment.burn_in, len(truth) - 1)
    by_cycle = {"w2": np.full(len(truth), np.nan)}
    if posterior is not None:
        scored = np.asarray(ensembles)[first:], posterior[first:]
        by_cycle["w2"][first:] = w2_by_cycle(*scored, progress=progress)
    arrays = jax.tree.map(jnp.asarray, (ensembles, info, truth))
    found = _compiled_scores(*arrays, first)
    others = scores_by_cycle(arrays[0], arrays[1].mean, arrays[2])
    by_cycle |= {name: np.asarray(values) for name, values in others.items()}
    means = {name: value.item() for name, value in found.items()}
    return Scores(w2=float(np.mean(by_cycle["w2"][first:])), **means), by_cycle
