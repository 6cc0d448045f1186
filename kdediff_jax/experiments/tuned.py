"""The lines of a reproduction's table: every filter, its settings chosen on the tuning seeds."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence

import diffrax
import numpy as np

from ..samplers import AbstractSampler, ExactMixture, ProbabilityFlow, per_member_pid
from ..schedules import VarianceExploding
from ..sweeping import SweepResult, best_point, smallest, sweep
from .experiment import Experiment
from .plan import Plan
from .records import Point
from .sweeps import AXES, ExperimentRun, References

Chosen = dict[str, int | Point | list[Point]]
Values = Sequence[float] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of the table."""

    label: str
    run: ExperimentRun
    settings: Mapping[str, float]


def paper_sampler() -> ProbabilityFlow:
    """Return the paper's choices: RK4(5) at 1e-5, prior start at tau_max = 30, plain latents."""
    return ProbabilityFlow(
        solver=diffrax.Dopri5(),
        schedule=VarianceExploding(tau_max=30.0),
        start="prior",
        latents="independent",
        stepsize_controller=per_member_pid(1e-5),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Tuning:
    """Choosing the settings of every filter at one ensemble size.

    Attributes:
        experiment: what is filtered.
        plan: seeds and sizes.
        members: ensemble size.
        score: the mean of which is to be smallest.
        posteriors: reference draws, where there are any.
        report: hears what is being done.
    """

    experiment: Experiment
    plan: Plan
    members: int
    score: str
    posteriors: References | None
    report: Callable[[str], None]

    @functools.cached_property
    def systematic(self) -> Experiment:
        """The experiment with SIR's better resampling: one object, so compiled once."""
        return dataclasses.replace(self.experiment, sir_resampling="systematic")

    def run(
        self,
        filter_name: str,
        sampler: AbstractSampler | None = None,
        *,
        experiment: Experiment | None = None,
        keep: bool = True,
        blind: bool = False,
    ) -> ExperimentRun:
        """Return a filter's run; it keeps the ensembles where W2 will be asked for."""
        return ExperimentRun(
            experiment or self.experiment,
            filter_name,
            self.members,
            sampler=sampler,
            num_cycles=self.plan.num_cycles,
            posteriors=self.posteriors,
            keep="ensembles" if keep and self.posteriors is not None else "",
            blind=blind,
        )

    def tried(self, run: ExperimentRun, grid: Mapping[str, Values]) -> SweepResult:
        """Return the scores of a grid on the tuning seeds."""
        self.report(f"N = {self.members}: tuning {run.filter_name}")
        return sweep(run, {**grid, "seed": self.plan.tuning})

    def best(self, run: ExperimentRun, grid: Mapping[str, Values]) -> Point:
        """Return the best point of a grid."""
        return best_point(self.tried(run, grid), self.score)[0]

    def bandwidths(self) -> dict[str, tuple[float, ...]]:
        """Return the bandwidths to try."""
        grid = self.experiment.tuning_grid or self.experiment.grid
        return {
            axis: values[:: self.plan.every_bandwidth]
            for axis, values in grid.items()
            if axis in AXES["kde-mixture"]
        }

    def screened(self) -> tuple[Point, list[Point]]:
        """Return the best bandwidths of exact mixture draws, and the finalists for the flow."""
        grid = self.bandwidths()
        # a whole grid's ensembles would not fit into memory
        result = self.tried(self.run("kde-mixture", keep=False), grid)
        best, means = best_point(result, self.score)
        places = smallest(means, self.plan.finalists)
        finalists = [
            {axis: result.axes[axis][i].item() for axis, i in zip(grid, place, strict=True)}
            for place in places
        ]
        return best, finalists

    def scored(self, finalists: list[Point]) -> list[Point]:
        """Return the finalists with the scores that the flow gives them."""
        flow = self.run("kde")
        found = [
            self.tried(flow, {axis: (value,) for axis, value in point.items()})
            for point in finalists
        ]
        means = [float(np.mean(result.values[self.score])) for result in found]
        return [{**point, self.score: mean} for point, mean in zip(finalists, means, strict=True)]

    def lines(self) -> tuple[list[Entry], Chosen]:
        """Choose the settings of every filter; return the lines of the table and what was chosen.

        EnKF and SIR try as many settings as there are pairs of bandwidths.
        """
        points = math.prod(len(values) for values in self.bandwidths().values())
        inflations = {"inflation": np.linspace(1, 2, points)}
        jitters = {"jitter": np.linspace(0, 2.5, points)}
        screened, finalists = self.screened()
        finals = self.scored(finalists)
        finite = [point for point in finals if math.isfinite(point[self.score])]
        winner = min(finite, key=lambda point: point[self.score])
        chosen: Chosen = {
            "settings tried": points,
            "kde": {axis: value for axis, value in winner.items() if axis != self.score},
            "kde-mixture": screened,
            "enkf": self.best(self.run("enkf"), inflations),
            "enkf-pairs": self.best(self.run("enkf-pairs"), inflations),
            "sir": self.best(self.run("sir", experiment=self.systematic), jitters),
            "finalists": finals,
        }
        return self._entries(chosen), chosen

    def _entries(self, chosen: Chosen) -> list[Entry]:
        points = {name: point for name, point in chosen.items() if isinstance(point, dict)}
        plain_flow = ProbabilityFlow(latents="independent")
        plain_draws = ExactMixture(draws="multinomial")
        enkf, pairs = self.run("enkf"), self.run("enkf-pairs")
        tuned_sir = self.run("sir", experiment=self.systematic)
        kde, mixture = points["kde"], points["kde-mixture"]
        entries = [
            Entry("kde", self.run("kde"), kde),
            Entry("kde, independent latents", self.run("kde", plain_flow), kde),
            Entry("kde, the paper's sampler", self.run("kde", paper_sampler()), kde),
            Entry("kde-mixture", self.run("kde-mixture"), mixture),
            Entry("kde-mixture, independent draws", self.run("kde-mixture", plain_draws), mixture),
            Entry("enkf", enkf, {"inflation": 1.0}),
            Entry("enkf tuned", enkf, points["enkf"]),
            Entry("enkf-pairs", pairs, {"inflation": 1.0}),
            Entry("enkf-pairs tuned", pairs, points["enkf-pairs"]),
            Entry("sir", self.run("sir"), {"jitter": 0.0}),
            Entry("sir tuned", tuned_sir, points["sir"]),
        ]
        return [entry for entry in entries if self.plan.variants or ", " not in entry.label]
