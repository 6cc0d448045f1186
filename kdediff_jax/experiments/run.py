"""Running an experiment: filters in chunks with progress, the reference posterior, the scores."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import metrics
from .._typing import Array, Float
from ..analysis.base import AbstractAnalysis, AnalysisInfo
from ..analysis.sir import SIR
from ..assimilation import CycleOutput, FilterResult, init, resume, save_ensembles
from .base import Experiment, Twin

REFERENCE_KEPT = 2000
Progress = Callable[[int], None]


def _silent(cycles: int) -> None:
    """Report nothing."""


class Run(NamedTuple):
    """One filter on one twin experiment; times in seconds."""

    result: FilterResult
    compile_seconds: float
    run_seconds: float


def run_filter(
    experiment: Experiment,
    analysis: AbstractAnalysis,
    twin: Twin,
    seed: int,
    *,
    save: Callable[[CycleOutput], Any] = save_ensembles,
    progress: Progress = _silent,
) -> Run:
    """Filter the twin's measurements; `progress` hears of finished cycles.

    The program is compiled before it runs, so that the two times are apart.
    """
    num_cycles = twin.ys.shape[0]
    chunk = _chunk(num_cycles)
    state = init(jax.random.fold_in(jax.random.key(seed), 2), twin.ensemble)

    @eqx.filter_jit
    def advance(state, modules, ys):
        dynamics, observation, scheme = modules
        return resume(state, dynamics, observation, scheme, ys, save=save)

    modules = (experiment.dynamics, experiment.observation, analysis)
    begin = time.perf_counter()
    compiled = advance.lower(state, modules, twin.ys[:chunk]).compile()
    middle = time.perf_counter()
    parts = []
    for start in range(0, num_cycles, chunk):
        part = jax.block_until_ready(compiled(state, modules, twin.ys[start : start + chunk]))
        state = part.state
        parts.append(jax.tree.map(np.asarray, (part.saved, part.info)))
        progress(chunk)
    saved, info = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    end = time.perf_counter()
    return Run(FilterResult(saved, info, state), middle - begin, end - middle)


def _chunk(num_cycles: int, parts: int = 10) -> int:
    """Return the longest equal chunk that gives at least `parts` pieces (one compilation)."""
    return max(
        (c for c in range(1, max(num_cycles // parts, 1) + 1) if num_cycles % c == 0), default=1
    )


def save_subset(output: CycleOutput) -> Float[Array, "k d"]:
    """Keep the first members: after multinomial resampling they are a random subset."""
    return output.analysis[:REFERENCE_KEPT]


def reference(
    experiment: Experiment, twin: Twin, seed: int, *, progress: Progress = _silent
) -> np.ndarray | None:
    """Return draws [T n d] of the posterior, at most 2000 a cycle, or None if there are none.

    They come from the exact filter where the experiment has one, else from a particle filter with
    the exact likelihood and multinomial resampling every cycle.
    """
    key = jax.random.fold_in(jax.random.key(seed), 3)
    if experiment.exact is not None:
        return np.asarray(experiment.exact(key, twin.ys, REFERENCE_KEPT))
    if not experiment.reference_particles:
        return None
    _, particles = experiment.initial(key, experiment.reference_particles)
    big = twin._replace(ensemble=particles.astype(twin.ensemble.dtype))
    run = run_filter(
        experiment,
        SIR(resampling="multinomial"),
        big,
        seed + 1_000_003,  # apart from the filters' own random numbers
        save=save_subset,
        progress=progress,
    )
    return run.result.saved


class Scores(NamedTuple):
    """Means over the cycles after burn-in; NaN where a score does not apply."""

    w2: float
    energy_score: float
    crps: float
    rmse: float
    spread: float
    rank_p: float
    ess: float
    steps: float
    failed: int


def score(
    experiment: Experiment,
    ensembles: Float[Array, "t n d"],
    info: AnalysisInfo,
    truth: Float[Array, "t d"],
    posterior: np.ndarray | None,
    *,
    progress: Progress = _silent,
) -> Scores:
    """Score a run against the truth and, by exact W2, against the reference posterior.

    W2 uses 1000 reference draws a cycle (2000 for more than 500 members). `rank_p` is the smallest
    p-value over coordinates of the rank histogram's flatness.
    """
    first = min(experiment.burn_in, len(truth) - 1)
    ensembles, truth = jnp.asarray(ensembles)[first:], jnp.asarray(truth)[first:]
    mean = jnp.asarray(info.mean)[first:]
    w2 = np.nan
    if posterior is not None:
        kept = 1000 if ensembles.shape[1] <= 500 else REFERENCE_KEPT
        distances = []
        for members, draws in zip(np.asarray(ensembles), posterior[first:], strict=True):
            finite = np.isfinite(members).all()
            distances.append(metrics.wasserstein2(members, draws[:kept]) if finite else np.nan)
            progress(1)
        w2 = float(np.mean(distances))
    counts = metrics.rank_histogram(ensembles, truth)
    bins = max(2, min(ensembles.shape[1] + 1, truth.shape[0] // 10))
    _, p_values = metrics.rank_flatness(counts, num_bins=bins)
    return Scores(
        w2=w2,
        energy_score=float(jnp.mean(metrics.energy_score(ensembles, truth))),
        crps=float(jnp.mean(metrics.crps(ensembles, truth))),
        rmse=float(jnp.mean(metrics.rmse(mean, truth))),
        spread=float(jnp.mean(metrics.spread(ensembles))),
        rank_p=float(jnp.min(p_values)),
        ess=float(np.mean(info.ess[first:])),
        steps=float(np.mean(info.num_steps[first:])),
        failed=int(np.sum(~np.asarray(info.ok))),
    )


def most_bimodal(posterior: Float[np.ndarray, "t n d"], coordinate: int) -> int:
    """Return the cycle whose marginal is most clearly two-sided: the smallest kurtosis."""
    x = posterior[:, :, coordinate]
    x = x - x.mean(axis=1, keepdims=True)
    return int(np.argmin((x**4).mean(axis=1) / np.maximum((x**2).mean(axis=1) ** 2, 1e-300)))
