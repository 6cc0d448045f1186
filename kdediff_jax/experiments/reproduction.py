"""An experiment's table: every filter tuned on some seeds, scored on others, beside the paper's.

Rules, the same for every ensemble size N:

1. State and measurement bandwidths: the experiment's `tuning_grid` with exact mixture draws (the
   flow's own law, without a solve) on the tuning seeds; the `finalists` best again with the flow;
   the best of those is taken. Best means the smallest mean of sliced W2 where there is a reference
   posterior, of the energy score where there is none.
2. EnKF (inflation) and SIR (jitter) try as many settings as the grid has points, on the same seeds.
   The untuned ones are listed too; the paper's EnKF is the untuned `enkf-pairs`, whose gain comes
   from simulated measurements, as the method's weights do, and not from a known operator and R.
3. Scores are means over the scoring seeds, with standard error and median; exact W2 at every
   `w2_every`-th cycle. A run has diverged if a cycle failed, or if it does no better, in the score
   of rule 1, than the same members run without any measurement. Diverged runs stay in the means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np

from .. import metrics
from ..sweeping import sweep
from .experiment import Experiment
from .plan import Plan
from .records import PublishedScore, Record, SizeRecord, Statistics
from .run import REFERENCE_KEPT
from .scores import compared_draws, mean_w2
from .sweeps import References, references
from .tuned import Entry, Tuning

SCORES = (
    *("w2", "energy_score", "crps", "rmse", "spread", "coverage"),
    *("rank_p", "ess", "steps", "sliced_w2"),
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
    record = record or _empty(experiment, plan)
    todo = [n for n in plan.members if str(n) not in record["members"]]
    if not todo:
        return record
    posteriors = references(
        experiment,
        (*plan.tuning, *plan.scoring),
        plan.num_cycles,
        draws=REFERENCE_KEPT,
        progress=lambda seed: report(f"reference posterior of seed {seed}"),
    )
    if posteriors is not None:
        record["selected by"] = "sliced_w2"
    for n in todo:
        tuning = Tuning(experiment, plan, n, record["selected by"], posteriors, report)
        record["members"][str(n)] = _of_size(tuning)
        finished(record)
    return record


def _empty(experiment: Experiment, plan: Plan) -> Record:
    """Return the record of an experiment before anything has run."""
    return {
        "experiment": experiment.name,
        "plan": plan.as_record(),
        "selected by": "energy_score",
        "members": {},
        "published": [cast(PublishedScore, entry._asdict()) for entry in experiment.expected],
    }


def _of_size(tuning: Tuning) -> SizeRecord:
    """Return the record of one ensemble size."""
    entries, chosen = tuning.lines()
    unfiltered = _unfiltered(tuning)
    size: SizeRecord = {"chosen": chosen, "filters": {}}
    for entry in entries:
        tuning.report(f"N = {tuning.members}: {entry.label}")
        values = _values(entry, tuning.plan)
        lost = (values["failed"] > 0) | ~(values[tuning.score] < unfiltered[tuning.score])
        size["filters"][entry.label] = {
            "settings": dict(entry.settings),
            "scores": _statistics(values),
            "diverged": int(lost.sum()),
        }
    size["filters"]["no measurements"] = {"scores": _statistics(unfiltered), "diverged": 0}
    if tuning.posteriors is not None:
        size["sampling floor of w2"] = _floor(tuning.plan, tuning.members, tuning.posteriors)
    return size


def _unfiltered(tuning: Tuning) -> dict[str, np.ndarray]:
    """Return the scores of each scoring seed's members when nothing is measured."""
    run = tuning.run("enkf", keep=False, blind=True)
    return sweep(run, {"seed": tuning.plan.scoring}).values


def _values(entry: Entry, plan: Plan) -> dict[str, np.ndarray]:
    """Return the scores of a line on each scoring seed, exact W2 included where there is one."""
    axes = {**{axis: (value,) for axis, value in entry.settings.items()}, "seed": plan.scoring}
    result = sweep(entry.run, axes)
    values = {
        name: array.reshape(len(plan.scoring), *array.shape[len(axes) :])
        for name, array in result.values.items()
    }
    posteriors = entry.run.posteriors
    if posteriors is not None:
        ensembles = values.pop("ensembles")
        first = entry.run.experiment.burn_in + plan.w2_every - 1
        cycles = slice(first, None, plan.w2_every)
        values["w2"] = np.array(
            [
                mean_w2(members[cycles], np.asarray(posteriors.of(seed))[cycles])
                for seed, members in zip(plan.scoring, ensembles, strict=True)
            ]
        )
    return values


def _statistics(values: Mapping[str, np.ndarray]) -> dict[str, Statistics]:
    """Return mean, standard error and median over the runs, by score."""
    return {name: _summary(values[name]) for name in SCORES if name in values}


def _summary(values: np.ndarray) -> Statistics:
    known = values[np.isfinite(values)].astype(np.float64)
    if not len(known):
        return {"mean": math.nan, "standard error": math.nan, "median": math.nan}
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
    return {
        "mean": float(known.mean()),
        "standard error": error,
        "median": float(np.median(known)),
    }


def _floor(plan: Plan, n: int, posteriors: References) -> Statistics:
    """Return W2 of n reference draws from others: what no filter can beat on average."""
    values = []
    for seed in plan.scoring:
        draws = np.asarray(posteriors.of(seed))[plan.w2_every - 1 :: plan.w2_every]
        distances = [
            metrics.wasserstein2(d[2000 : 2000 + n], d[: compared_draws(n)]) for d in draws
        ]
        values.append(np.mean(distances))
    return _summary(np.array(values))
