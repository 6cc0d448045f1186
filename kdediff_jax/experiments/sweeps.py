"""Experiments as functions of a grid point: what `kd.sweep` runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import choice, count
from .._typing import Array, Float
from ..assimilation import assimilate, save_ensembles
from ..samplers import AbstractSampler, ProbabilityFlow
from ..schedules import VarianceExploding
from .base import Experiment
from .run import reference
from .scoring import compiled_scores, mean_sliced_w2

REFERENCE_DRAWS = 1000
_BANDWIDTHS = ("state_bandwidth", "obs_bandwidth")
AXES = {
    "kde-auto": ("state_bandwidth",),
    "kde": (*_BANDWIDTHS, "tau_max"),
    "kde-sde": _BANDWIDTHS,
    "kde-mixture": _BANDWIDTHS,
    "enkf": ("inflation",),
    "enkf-sampled": ("inflation",),
    "etkf": ("inflation", "rotation"),
    "sir": ("jitter",),
}
INFLATIONS = (1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0)
WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # of the covariance kernel
JITTERS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)


def default_grid(experiment: Experiment, filter_name: str) -> dict[str, tuple[float, ...]]:
    """Return what a sweep tries: the experiment's bandwidths, or lists of inflations or jitters."""
    choice("filter_name", filter_name, AXES)
    if filter_name == "kde-auto":
        return {"state_bandwidth": WIDTHS}
    if "inflation" in AXES[filter_name]:
        return {"inflation": INFLATIONS}
    if filter_name == "sir":
        return {"jitter": JITTERS}
    return {a: values for a, values in experiment.grid.items() if a in AXES[filter_name]}


class ExperimentRun(eqx.Module):
    """One simulation of an experiment as a function of a grid point.

    The point may have `seed` and what the filter can be tuned by: `AXES[filter_name]`. Truth,
    measurements, members and the filter's draws follow from the seed, as in `kdediff run`.

    Args:
        experiment: the experiment.
        filter_name: a filter of `kdediff list`.
        members: ensemble size.
        sampler: of the diffusion filters; by default the filter's own.
        num_cycles: cycles to run; the experiment's if None.
        posteriors: reference draws, see `references`; adds `sliced_w2` to the scores.
        blind: every measurement is missing: what the members say unfiltered.
        keep: "ensembles" adds the analysis ensembles and the truth (of this very program: another
            one's rounding gives another chaotic path), "iterations" the solver's accepted and
            rejected steps of every cycle.

    Returns, called with a point: a dict of scores, NaN where a cycle failed (`failed` counts them).
    """

    experiment: Experiment = eqx.field(static=True)
    filter_name: str = eqx.field(static=True)
    members: int = eqx.field(static=True)
    num_cycles: int | None = eqx.field(static=True, default=None)
    sampler: AbstractSampler | None = None
    posteriors: tuple[Array, Float[Array, "s t m d"]] | None = None
    blind: bool = eqx.field(static=True, default=False)
    keep: str = eqx.field(static=True, default="")

    def __check_init__(self) -> None:
        """Check the options."""
        choice("filter_name", self.filter_name, AXES)
        count("members", self.members, 2)
        choice("keep", self.keep, ("", "ensembles", "iterations"))

    def __call__(self, point: Mapping[str, Array]) -> dict[str, Array]:
        """Return the scores of one grid point."""
        settings = dict(point)
        for axis in settings:
            choice("grid", axis, (*AXES[self.filter_name], "seed"))
        seed = settings.pop("seed", jnp.zeros((), jnp.int32))
        settings = {name: value.astype(jnp.result_type(float)) for name, value in settings.items()}
        sampler = self.sampler
        if "tau_max" in settings:
            schedule = VarianceExploding(tau_max=settings.pop("tau_max"))
            sampler = dataclasses.replace(sampler or ProbabilityFlow(), schedule=schedule)
        experiment = self.experiment
        cycles = self.num_cycles or experiment.num_cycles
        analysis = experiment.filter(self.filter_name, self.members, sampler=sampler, **settings)
        twin = experiment.twin(seed, self.members, cycles, jnp.dtype(jnp.result_type(float)))
        result = assimilate(
            jax.random.fold_in(jax.random.key(seed), 2),
            experiment.dynamics,
            experiment.observation,
            analysis,
            twin.ensemble,
            jnp.full_like(twin.ys, jnp.nan) if self.blind else twin.ys,
            save=save_ensembles,
        )
        first = min(experiment.burn_in, cycles - 1)
        scores = compiled_scores(result.saved, result.info, twin.truth, first)
        if self.posteriors is not None:
            seeds, draws = self.posteriors
            mine = draws[jnp.argmin(jnp.abs(seeds - seed)), :, :REFERENCE_DRAWS]
            scores["sliced_w2"] = mean_sliced_w2(result.saved[first:], mine[first:])
        whole = scores["failed"] == 0
        scores = {
            name: value if name == "failed" else jnp.where(whole, value, jnp.nan)
            for name, value in scores.items()
        }
        if self.keep == "ensembles":
            scores |= {"ensembles": result.saved, "truth": twin.truth}
        if self.keep == "iterations":
            scores["iterations"] = result.info.num_steps + result.info.num_rejected
        return scores


def references(
    experiment: Experiment,
    seeds: Sequence[int],
    num_cycles: int | None = None,
    *,
    draws: int = REFERENCE_DRAWS,
    progress: Callable[[int], None] = lambda seed: None,
) -> tuple[Array, Float[Array, "s t m d"]] | None:
    """Return (seeds, reference draws) for `ExperimentRun`, or None where there is no reference."""
    if experiment.exact is None and not experiment.reference_particles:
        return None
    cycles = num_cycles or experiment.num_cycles
    dtype = jnp.dtype(jnp.result_type(float))
    posteriors = []
    for seed in seeds:
        posterior = reference(experiment, experiment.twin(seed, 2, cycles, dtype), seed)
        assert posterior is not None  # checked above
        posteriors.append(posterior[:, :draws])
        progress(seed)
    return jnp.asarray(seeds, jnp.int32), jnp.asarray(np.stack(posteriors))
