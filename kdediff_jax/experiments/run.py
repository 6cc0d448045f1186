"""Running an experiment: filters in chunks with progress, and the reference posterior."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from .._checks import seed as seed_in_range
from .._files import AnyPath
from .._interrupts import undisturbed
from .._typing import Array, Float
from ..analysis.base import AbstractAnalysis
from ..analysis.sir import SIR
from ..assimilation import init, resume
from ..runs import CycleOutput, FilterResult, save_ensembles
from .experiment import Experiment, Twin

REFERENCE_KEPT = 3000  # 2000 to compare with, and 1000 more for the sampling floor
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
    checkpoint: AnyPath | None = None,
) -> Run:
    """Filter the twin's measurements; `progress` hears of finished cycles, first of none.

    The program is compiled before it runs, so that the two times are apart; not so with a
    checkpoint, which says nothing of the time that went before: `compile_seconds` is NaN then.
    """
    seed_in_range("seed", seed)
    num_cycles = twin.ys.shape[0]
    chunk = _chunk(num_cycles)
    state = init(jax.random.fold_in(jax.random.key(seed), 2), twin.ensemble)

    modules = (experiment.dynamics, experiment.observation, analysis)
    begin = time.perf_counter()
    if checkpoint is not None:
        result = resume(
            state, *modules, twin.ys, save=save,
            checkpoint=checkpoint, progress=_advances(progress), chunk=max(chunk, 2),
        )  # fmt: skip
        return Run(result, float("nan"), time.perf_counter() - begin)
    compiled = undisturbed(_advance.lower(state, modules, twin.ys[:chunk], save).compile)
    middle = time.perf_counter()
    progress(0)  # what comes now is the run: its speed is not that of compiling
    parts = []
    for start in range(0, num_cycles, chunk):
        part = jax.block_until_ready(compiled(state, modules, twin.ys[start : start + chunk], save))
        state = part.state
        parts.append(jax.tree.map(np.asarray, (part.saved, part.info)))
        progress(chunk)
    saved, info = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    end = time.perf_counter()
    return Run(FilterResult(saved, info, state), middle - begin, end - middle)


@eqx.filter_jit
def _advance(state, modules, ys, save):
    dynamics, observation, scheme = modules
    return resume(state, dynamics, observation, scheme, ys, save=save)


def _advances(progress: Progress) -> Callable[[int, int], None]:
    """Return what hears how many cycles are finished, and passes on by how many more."""
    before = 0

    def report(done: int, total: int) -> None:
        nonlocal before
        progress(done - before)
        before = done

    return report


def _chunk(num_cycles: int, parts: int = 10) -> int:
    """Return the longest equal chunk that gives at least `parts` pieces (one compilation)."""
    return max(
        (c for c in range(1, max(num_cycles // parts, 1) + 1) if num_cycles % c == 0), default=1
    )


def save_subset(output: CycleOutput) -> Float[Array, "k d"]:
    """Keep the first members: after multinomial resampling they are a random subset."""
    return output.analysis[:REFERENCE_KEPT]


def reference(
    experiment: Experiment,
    twin: Twin,
    seed: int,
    *,
    progress: Progress = _silent,
    checkpoint: AnyPath | None = None,
) -> np.ndarray | None:
    """Return draws [T n d] of the posterior, at most 3000 a cycle, or None if there are none.

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
        (seed + 1_000_003) % 2**32,  # apart from the filters' own random numbers
        save=save_subset,
        progress=progress,
        checkpoint=checkpoint,
    )
    return run.result.saved


def most_bimodal(posterior: Float[np.ndarray, "t n d"], coordinate: int) -> int:
    """Return the cycle whose marginal is most clearly two-sided: the smallest kurtosis."""
    x = posterior[:, :, coordinate]
    x = x - x.mean(axis=1, keepdims=True)
    return int(np.argmin((x**4).mean(axis=1) / np.maximum((x**2).mean(axis=1) ** 2, 1e-300)))
