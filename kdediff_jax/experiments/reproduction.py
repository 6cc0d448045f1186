"""An experiment's table: every filter tuned on some seeds, scored on others, beside the paper's.

Rules, the same for every ensemble size N:

1. State and measurement bandwidths: the experiment's `tuning_grid` with exact mixture draws (the
   flow's own law, without a solve) on the tuning seeds; the `finalists` best again with the flow;
   the best of those is taken. Best means the smallest mean of sliced W2 where there is a reference
   posterior, of the energy score where there is none.
2. EnKF (inflation) and SIR (jitter) try as many settings as the grid has points, on the same seeds.
   The untuned ones are listed too; the paper's EnKF is the untuned `enkf-sampled`, whose gain comes
   from simulated measurements, as the method's weights do, and not from a known operator and R.
3. Scores are means over the scoring seeds, with standard error and median; exact W2 at every
   `w2_every`-th cycle. A run has diverged if a cycle failed, or if it does no better, in the score
   of rule 1, than the same members run without any measurement. Diverged runs stay in the means.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import diffrax
import numpy as np

from .. import metrics
from ..samplers import AbstractSampler, ExactMixture, ProbabilityFlow, per_member_pid
from ..schedules import VarianceExploding
from ..sweeping import SweepResult, select, smallest, sweep
from .base import Experiment
from .run import REFERENCE_KEPT
from .scoring import compared_draws, mean_w2
from .sweeps import AXES, ExperimentRun, references

Record = dict[str, Any]
SCORES = (
    *("w2", "energy_score", "crps", "rmse", "spread", "coverage"),
    *("rank_p", "ess", "steps"),
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes of a reproduction; `quick` is for a look, not for conclusions."""

    members: tuple[int, ...] = (20, 50, 100, 250, 500, 1000)
    tuning: tuple[int, ...] = tuple(range(1000, 1008))
    scoring: tuple[int, ...] = tuple(range(10))
    finalists: int = 6
    w2_every: int = 5
    num_cycles: int | None = None
    every_bandwidth: int = 1  # 2 takes every other one of the grid

    @classmethod
    def quick(cls) -> Plan:
        """Return a plan of a few minutes."""
        return cls(
            members=(20, 100),
            tuning=tuple(range(1000, 1003)),
            scoring=tuple(range(3)),
            finalists=2,
            w2_every=10,
            every_bandwidth=2,
        )

    def of_members(self, members: tuple[int, ...] | None) -> Plan:
        """Return the plan for other ensemble sizes."""
        return self if members is None else dataclasses.replace(self, members=members)


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


def reproduce(
    experiment: Experiment,
    plan: Plan,
    *,
    report: Callable[[str], None] = lambda line: None,
    finished: Callable[[Record], None] = lambda record: None,
    record: Record | None = None,
) -> Record:
    """Return the table of an experiment as plain numbers.

    Args:
        experiment: the experiment; its bandwidth grid is used.
        plan: sizes.
        report: hears what is being done.
        finished: hears the record after each ensemble size, to store it.
        record: an earlier record, whose sizes are not run again.
    """
    record = record or {
        "experiment": experiment.name,
        "plan": dataclasses.asdict(plan),
        "selected by": "energy_score",
        "members": {},
        "published": [e._asdict() for e in experiment.expected],
    }
    todo = [n for n in plan.members if str(n) not in record["members"]]
    if not todo:
        return record
    seeds = (*plan.tuning, *plan.scoring)
    posteriors = references(
        experiment,
        seeds,
        plan.num_cycles,
        draws=REFERENCE_KEPT,
        progress=lambda seed: report(f"reference posterior of seed {seed}"),
    )
    if posteriors is not None:
        record["selected by"] = "sliced_w2"
    for n in todo:
        entries, chosen = _tuned(experiment, plan, n, posteriors, record["selected by"], report)
        free = _unfiltered(experiment, plan, n, posteriors)
        size: Record = {"chosen": chosen, "filters": {}}
        for entry in entries:
            report(f"N = {n}: {entry.label}")
            lost_above = free[record["selected by"]]
            size["filters"][entry.label] = _scored(
                entry, plan, posteriors, record["selected by"], lost_above
            )
        size["filters"]["no measurements"] = _summary(free, 0)
        if posteriors is not None:
            size["sampling floor of w2"] = _floor(plan, n, posteriors)
        record["members"][str(n)] = size
        finished(record)
    return record


def _tuned(
    experiment: Experiment, plan: Plan, n: int, posteriors, score: str, report
) -> tuple[list[Entry], Record]:
    """Choose the settings of every filter; the lines of the table."""
    # W2 needs the ensembles; those of a whole grid of bandwidths would not fit
    kept = "" if posteriors is None else "ensembles"

    def run(
        name: str,
        sampler: AbstractSampler | None = None,
        of: Experiment = experiment,
        keep: str = kept,
    ):
        return ExperimentRun(
            of,
            name,
            n,
            sampler=sampler,
            num_cycles=plan.num_cycles,
            posteriors=posteriors,
            keep=keep,
        )

    def tried(run: ExperimentRun, grid: Mapping[str, Any]) -> SweepResult:
        report(f"N = {n}: tuning {run.filter_name}")
        return sweep(run, {**grid, "seed": plan.tuning})

    grid = {
        axis: values[:: plan.every_bandwidth]
        for axis, values in (experiment.tuning_grid or experiment.grid).items()
        if axis in AXES["kde-mixture"]
    }
    points = math.prod(len(values) for values in grid.values())
    screening = run("kde-mixture", keep="")
    screened, means = select(screen := tried(screening, grid), score)
    flow = run("kde")
    finals: list[tuple[float, dict[str, float]]] = []
    for place in smallest(means, plan.finalists):
        point = {a: screen.axes[a][i].item() for a, i in zip(grid, place, strict=True)}
        found = tried(flow, {a: (v,) for a, v in point.items()})
        finals.append((float(np.mean(found.values[score])), point))
    best = min((f for f in finals if np.isfinite(f[0])), key=lambda f: f[0])[1]
    enkf = run("enkf")
    inflations = {"inflation": np.linspace(1, 2, points)}
    inflation, _ = select(tried(enkf, inflations), score)
    sampled = run("enkf-sampled")
    sampled_inflation, _ = select(tried(sampled, inflations), score)
    tuned_sir = run("sir", of=dataclasses.replace(experiment, sir_resampling="systematic"))
    jitter, _ = select(tried(tuned_sir, {"jitter": np.linspace(0, 2.5, points)}), score)
    independent = ProbabilityFlow(latents="independent")
    chosen = {
        "settings tried": points,
        "kde": best,
        "kde-mixture": screened,
        "enkf": inflation,
        "enkf-sampled": sampled_inflation,
        "sir": jitter,
        "finalists": [{**point, score: value} for value, point in finals],
    }
    entries = [
        Entry("kde", flow, best),
        Entry("kde, independent latents", run("kde", independent), best),
        Entry("kde, the paper's sampler", run("kde", paper_sampler()), best),
        Entry("kde-mixture", run("kde-mixture"), screened),
        Entry("kde-mixture, independent draws",
              run("kde-mixture", ExactMixture(draws="multinomial")), screened),
        Entry("enkf", enkf, {"inflation": 1.0}),
        Entry("enkf tuned", enkf, inflation),
        Entry("enkf-sampled", sampled, {"inflation": 1.0}),
        Entry("enkf-sampled tuned", sampled, sampled_inflation),
        Entry("sir", run("sir"), {"jitter": 0.0}),
        Entry("sir tuned", tuned_sir, jitter),
    ]  # fmt: skip
    return entries, chosen


def _unfiltered(experiment: Experiment, plan: Plan, n: int, posteriors) -> dict[str, np.ndarray]:
    """Return the scores of each scoring seed's members when nothing is measured."""
    run = ExperimentRun(
        experiment, "enkf", n, num_cycles=plan.num_cycles, posteriors=posteriors, blind=True
    )
    values = sweep(run, {"seed": plan.scoring}).values
    return {name: values[name] for name in (*SCORES, "sliced_w2") if name in values}


def _scored(entry: Entry, plan: Plan, posteriors, score: str, lost_above: np.ndarray) -> Record:
    axes = {**{a: (v,) for a, v in entry.settings.items()}, "seed": plan.scoring}
    result = sweep(entry.run, axes)
    values = {
        name: array.reshape(len(plan.scoring), *array.shape[len(axes) :])
        for name, array in result.values.items()
    }
    ensembles = values.pop("ensembles", None)
    if posteriors is not None and ensembles is not None:
        first = entry.run.experiment.burn_in + plan.w2_every - 1
        cycles = slice(first, None, plan.w2_every)
        values["w2"] = np.array(
            [
                mean_w2(members[cycles], _draws(posteriors, seed)[cycles])
                for seed, members in zip(plan.scoring, ensembles, strict=True)
            ]
        )
    lost = (values["failed"] > 0) | ~(values[score] < lost_above)
    wanted = {name: values[name] for name in (*SCORES, "sliced_w2") if name in values}
    return {"settings": dict(entry.settings), **_summary(wanted, int(lost.sum()))}


def _draws(posteriors, seed: int) -> np.ndarray:
    seeds, draws = posteriors
    return np.asarray(draws[int(np.argmin(np.abs(np.asarray(seeds) - seed)))])


def _summary(values: Mapping[str, np.ndarray], diverged: int) -> Record:
    scores = {}
    for name, array in values.items():
        known = array[np.isfinite(array)].astype(np.float64)
        scores[name] = {
            "mean": float(known.mean()) if len(known) else math.nan,
            "standard error": float(known.std(ddof=1) / math.sqrt(len(known)))
            if len(known) > 1
            else math.nan,
            "median": float(np.median(known)) if len(known) else math.nan,
        }
    return {"scores": scores, "diverged": diverged}


def _floor(plan: Plan, n: int, posteriors) -> Record:
    """Return W2 of n reference draws from others: what no filter can beat on average."""
    values = []
    for seed in plan.scoring:
        draws = _draws(posteriors, seed)[plan.w2_every - 1 :: plan.w2_every]
        values.append(
            np.mean(
                [metrics.wasserstein2(d[2000 : 2000 + n], d[: compared_draws(n)]) for d in draws]
            )
        )
    return _summary({"w2": np.array(values)}, 0)["scores"]["w2"]
