"""Experiments as functions of a grid point: what `kd.sweep` runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import choice, count
from .._typing import Array, Float, Int
from ..analysis.base import AbstractAnalysis
from ..assimilation import assimilate
from ..runs import FilterResult, save_ensembles
from ..samplers import AbstractSampler, ProbabilityFlow
from ..schedules import VarianceExploding
from . import FILTERS
from .experiment import Experiment, Twin
from .filters import Setting, settings_of
from .run import reference
from .scores import compiled_scores, mean_sliced_w2

REFERENCE_DRAWS = 1000
INFLATIONS = (1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0)
KERNEL_WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # in units of the ensemble's spread
JITTERS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)
DEFAULT_VALUES = {"kernel_width": KERNEL_WIDTHS, "inflation": INFLATIONS, "jitter": JITTERS}


def _axes(filter_name: str) -> tuple[str, ...]:
    """Return the numbers among a filter's settings; the flow's schedule has one more."""
    numbers = tuple(name for name in settings_of(filter_name) if name != "sampler")
    return (*numbers, "tau_max") if filter_name == "kde" else numbers


AXES = {name: _axes(name) for name in FILTERS}


def default_grid(experiment: Experiment, filter_name: str) -> dict[str, tuple[float, ...]]:
    """Return what a sweep tries: the experiment's bandwidths, or a list for the one setting."""
    choice("filter_name", filter_name, AXES)
    for axis, values in DEFAULT_VALUES.items():
        if axis in AXES[filter_name]:
            return {axis: values}
    return {a: values for a, values in experiment.grid.items() if a in AXES[filter_name]}


class References(NamedTuple):
    """Draws from the reference posteriors of several simulations."""

    seeds: Int[Array, " s"]
    draws: Float[Array, "s t n d"]

    def of(self, seed: int | Array) -> Float[Array, "t n d"]:
        """Return the draws of one simulation."""
        return self.draws[jnp.argmin(jnp.abs(self.seeds - seed))]


class ExperimentRun(eqx.Module):
    """One simulation of an experiment as a function of a grid point.

    The point may have `seed` and what the filter can be tuned by: `AXES[filter_name]`. Truth,
    measurements, members and the filter's draws follow from the seed, as in `kdediff run`.

    Args:
        experiment: the experiment.
        filter_name: a filter of `kdediff list`.
        members: ensemble size.
        sampler: of the `kde` filters; by default the filter's own.
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
    posteriors: References | None = None
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
        dtype = jnp.dtype(jnp.result_type(float))
        analysis = self._analysis({name: value.astype(dtype) for name, value in settings.items()})
        cycles = self.num_cycles or self.experiment.num_cycles
        twin = self.experiment.twin(seed, self.members, cycles, dtype)
        result = assimilate(
            jax.random.fold_in(jax.random.key(seed), 2),
            self.experiment.dynamics,
            self.experiment.observation,
            analysis,
            twin.ensemble,
            jnp.full_like(twin.ys, jnp.nan) if self.blind else twin.ys,
            save=save_ensembles,
        )
        return self._scores(result, twin, seed) | self._kept(result, twin)

    def _analysis(self, numbers: Mapping[str, Array]) -> AbstractAnalysis:
        """Return the filter; `tau_max` is a setting of its sampler."""
        sampler = self.sampler
        if "tau_max" in numbers:
            schedule = VarianceExploding(tau_max=numbers["tau_max"])
            sampler = dataclasses.replace(sampler or ProbabilityFlow(), schedule=schedule)
        settings: dict[str, Setting | None] = {"sampler": sampler}
        settings |= {name: value for name, value in numbers.items() if name != "tau_max"}
        return self.experiment.filter(self.filter_name, self.members, **settings)

    def _scores(self, result: FilterResult, twin: Twin, seed: Array) -> dict[str, Array]:
        """Return the scores, all but `failed` NaN where a cycle failed."""
        first = min(self.experiment.burn_in, len(twin.truth) - 1)
        scores = compiled_scores(result.saved, result.info, twin.truth, first)
        if self.posteriors is not None:
            draws = self.posteriors.of(seed)[first:, :REFERENCE_DRAWS]
            scores["sliced_w2"] = mean_sliced_w2(result.saved[first:], draws)
        whole = scores["failed"] == 0
        return {
            name: value if name == "failed" else jnp.where(whole, value, jnp.nan)
            for name, value in scores.items()
        }

    def _kept(self, result: FilterResult, twin: Twin) -> dict[str, Array]:
        """Return what `keep` asks for."""
        if self.keep == "ensembles":
            return {"ensembles": result.saved, "truth": twin.truth}
        if self.keep == "iterations":
            return {"iterations": result.info.num_steps + result.info.num_rejected}
        return {}


def references(
    experiment: Experiment,
    seeds: Sequence[int],
    num_cycles: int | None = None,
    *,
    draws: int = REFERENCE_DRAWS,
    progress: Callable[[int], None] = lambda seed: None,
) -> References | None:
    """Return the reference draws of some simulations, or None where there is no reference.

    Args:
        experiment: the experiment.
        seeds: of the simulations.
        num_cycles: cycles to run; the experiment's if None.
        draws: how many to keep of each cycle.
        progress: hears every finished seed.
    """
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
    return References(jnp.asarray(seeds, jnp.int32), jnp.asarray(np.stack(posteriors)))
