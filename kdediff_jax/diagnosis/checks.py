r"""The checks: each looks at one run's report, and returns what is wrong or None.

Whether a mean innovation over T cycles is too far from 1 for chance is asked by Wilson and Hilferty
1931: for a chi-square of T degrees of freedom

    z = ((chi^2 / T)^(1/3) - (1 - 2 / (9 T))) / sqrt(2 / (9 T)),

nearly a standard normal. T is right for one component, and cautious for more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from .._typing import Float
from .._words import counted
from ..analysis.outcome import AnalysisInfo
from .report import Diagnosis, Finding

UNDER, OVER = 2.0, 0.25  # mean innovations in between are no finding: few ensembles are Gaussian
SIGNIFICANT = 3.0  # in standard normals
WILD = 100.0  # innovation of a cycle that is no longer the same filter's
RARE = 0.1  # share of cycles up to which something is an accident, not the rule
OFTEN = 0.25  # share of cycles with few effective members from which on weights have collapsed
HANDFUL = 5.0  # effective members; of few, a quarter


def handful(members: int) -> float:
    """Return the number of effective members below which the weights of N have collapsed."""
    return min(HANDFUL, members / 4)


class _Run(NamedTuple):
    """The report of one run, `AnalysisInfo` of NumPy arrays with an axis of cycles; and N."""

    info: Any
    members: int
    spread: np.ndarray | None

    @property
    def measured(self) -> np.ndarray:
        """Which cycles have an innovation."""
        return ~np.isnan(self.info.normalised_innovation)

    @property
    def representative(self) -> np.ndarray:
        """The cycles whose innovation is the filter's own, not that of a rare wild measurement."""
        wild = self.measured & (self.info.num_gross_errors > 0)
        wild |= self.info.normalised_innovation > WILD  # NaN is not
        few = wild.sum() <= RARE * self.measured.sum()
        return self.measured & ~wild if few else self.measured

    @property
    def innovations(self) -> np.ndarray:
        """Innovations of the representative cycles."""
        return self.info.normalised_innovation[self.representative]


def diagnose(
    info: AnalysisInfo, members: int, spread: Float[np.ndarray, "*b t d"] | None = None
) -> Diagnosis:
    """Return what is wrong with a run, or with each of a batch of runs.

    Args:
        info: arrays with an axis of cycles, and any axes of a batch before it.
        members: N.
        spread: standard deviation of the analysis members, where it was stored.
    """
    host: Any = jax.tree.map(np.asarray, info)
    batch, cycles = host.ok.shape[:-1], host.ok.shape[-1]
    host = host._replace(
        normalised_innovation=host.normalised_innovation.astype(np.float64),
        ess=host.ess.astype(np.float64),
        ok=host.ok.astype(bool),
    )
    runs = {
        index: _Run(
            jax.tree.map(lambda field, i=index: field[i], host),
            members,
            None if spread is None else np.asarray(spread)[index],
        )
        for index in np.ndindex(batch)
    }
    everything = np.concatenate([run.innovations for run in runs.values()] or [np.zeros(0)])
    mean, error = _mean_and_error(everything)
    return Diagnosis(
        findings=tuple(_collected(runs)),
        cycles=cycles,
        members=members,
        runs=len(runs),
        innovation=mean,
        innovation_error=error,
        ess=_median(host.ess),
    )


def _collected(runs: dict[tuple[int, ...], _Run]) -> list[Finding]:
    """Return one finding of each kind: the first run's, with the indices of all that have it."""
    merged: dict[str, Finding] = {}
    for check in CHECKS:
        for index, run in runs.items():
            found = check(run) if run.info.ok.size else None
            if found is not None:
                first = merged.setdefault(found.kind, found)
                if index:
                    merged[found.kind] = first._replace(runs=(*first.runs, index))
    return list(merged.values())


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error, NaN where there are too few values."""
    if not values.size:
        return math.nan, math.nan
    with np.errstate(invalid="ignore"):  # an innovation may have overflowed
        error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return float(values.mean()), float(error)


def _median(values: np.ndarray) -> float:
    """Return the median of the finite values, NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan


def _failed(run: _Run) -> Finding | None:
    failed = np.flatnonzero(~run.info.ok)
    if not failed.size:
        return None
    first = int(failed[0])
    why, advice = failure(run.info, run.members, (first,))
    of_all = counted(run.info.ok.size, "cycle")
    what = f"{failed.size} of {of_all} failed; the first, cycle {first}: {why}"
    return Finding("failed cycles", what, float(failed.size), 0.0, advice)


def _dispersion(run: _Run) -> Finding | None:
    """Compare the mean innovation with 1."""
    values = run.innovations
    if not values.size:
        return None
    mean, error = _mean_and_error(values)
    if abs(mean - 1) < SIGNIFICANT * error:  # rare large ones: no chi-square
        return None
    scatter = 2 / (9 * len(values))
    z = (np.cbrt(mean) - (1 - scatter)) / scatter**0.5
    found = f"the mean normalised innovation is {mean:.3g}"
    found += "" if math.isnan(error) else f" ± {error:.2g}"
    found += f" over {counted(len(values), 'cycle')}, expected 1: the forecast "
    if mean > UNDER and z > SIGNIFICANT:
        found += f"is {mean**0.5:.3g} times as far from the measurements as it believes"
        advice = "more inflation or model noise, a larger measurement noise, more members"
        if mean > WILD:
            advice = (
                "check the units of y, the observation operator and the stated noise; start from "
                f"members that surround the truth; then {advice}"
            )
        return Finding("under-dispersed", found, mean, 1.0, advice)
    if mean < OVER and z < -SIGNIFICANT:
        found += f"believes to be {mean**-0.5 if mean else math.inf:.3g} times as far from the "
        found += "measurements as it is"
        advice = "a smaller measurement noise, less inflation or model noise"
        return Finding("over-dispersed", found, mean, 1.0, advice)
    return None


def _rejected(run: _Run) -> Finding | None:
    """Report what the check for gross errors left out."""
    gross = run.info.num_gross_errors
    count = int((gross > 0).sum())
    if not count:
        return None
    first = int(np.flatnonzero(gross)[0])
    components = int(gross.sum())
    what = f"{counted(components, 'component')} in {count} of {counted(gross.size, 'cycle')} "
    what += "was left out as a gross error" if components == 1 else "were left out as gross errors"
    what += f", the first in cycle {first}"
    if count > RARE * gross.size:
        what += ": more than bad measurements explain, the filter may have lost the truth"
        advice = (
            "check the units of y, the observation operator and the stated noise; start from "
            "members that surround the truth; gross_error=inf lets every measurement pull"
        )
    else:
        advice = "look at these measurements: a code for missing values (-9999) is given as NaN"
    return Finding("measurements rejected", what, count / gross.size, 0.0, advice)


def _wild(run: _Run) -> Finding | None:
    """Report single measurements far from the forecast that counted all the same."""
    wild = run.measured & ~run.representative & (run.info.num_gross_errors == 0)
    cycles = np.flatnonzero(wild)
    if not cycles.size or run.innovations.mean() > UNDER:  # it is the filter, not they
        return None
    largest = float(run.info.normalised_innovation[cycles].max())
    what = f"in {cycles.size} of {counted(wild.size, 'cycle')}, the first {int(cycles[0])}, the "
    what += f"normalised innovation is above {WILD:g}, up to {largest:.3g}, expected 1; elsewhere "
    what += "it is not"
    advice = "look at these measurements (a code for missing values is given as NaN); gross_error"
    return Finding("wild measurements", what, largest, 1.0, f"{advice} leaves such out")


def _collapsed(run: _Run) -> Finding | None:
    """Report weights that a handful of members carry, in many cycles."""
    bound = handful(run.members)
    few = run.info.ess < bound
    if few.sum() <= OFTEN * few.size:
        return None
    what = f"in {int(few.sum())} of {counted(few.size, 'cycle')} fewer than {bound:g} of "
    what += f"{run.members} members carry the weight, median {_median(run.info.ess):.3g}"
    advice = (
        "more members; a wider obs_bandwidth (KDEDiffusion); EnKPF in place of a filter that "
        "weighs alone; a larger measurement noise if it is understated"
    )
    return Finding("ESS collapsed", what, _median(run.info.ess), bound, advice)


def _masked(run: _Run) -> Finding | None:
    masked = run.info.num_masked
    count = int((masked > 0).sum())
    if not count:
        return None
    what = f"in {count} of {counted(masked.size, 'cycle')} members were left out, at most "
    what += (
        f"{int(masked.max())} of {run.members}: not finite, without a prediction, or far beyond "
    )
    what += "the others"
    advice = (
        "see where the model or the observation operator returns NaN, infinity or huge numbers (a "
        "log or root of a negative number, too long a step)"
    )
    return Finding("members masked", what, float(masked.mean()), 0.0, advice)


def _identical(run: _Run) -> Finding | None:
    """Report an ensemble without spread at the end, where the spread was stored."""
    if run.spread is None or not np.isfinite(run.spread[-1]).all():
        return None
    spread, mean = run.spread[-1], np.abs(run.info.mean[-1])
    if (spread > 4 * np.finfo(spread.dtype).eps * mean).any():
        return None
    advice = "jitter (SIR), inflation, model noise, or more members"
    what = "the members are copies of one at the end of the run"
    return Finding("no spread", what, float(spread.max()), 0.0, advice)


Check = Callable[[_Run], Finding | None]
CHECKS: tuple[Check, ...] = (
    _failed, _dispersion, _identical, _rejected, _wild, _collapsed, _masked,
)  # fmt: skip


def failure(info: AnalysisInfo, members: int, where: tuple[int, ...]) -> tuple[str, str]:
    """Return why a cycle is not `ok`, and what to try.

    Args:
        info: arrays with an axis of cycles, and any axes of a batch before it.
        members: N.
        where: index of the cycle.
    """
    masked, steps, rejected = (
        int(np.asarray(field)[where])
        for field in (info.num_masked, info.num_steps, info.num_rejected)
    )
    if 2 * (members - masked) < members or members - masked < 2:
        were = "was" if masked == 1 else "were"
        why = (
            f"{masked} of {members} members {were} left out (not finite, without a prediction, or "
        )
        why += "far beyond the others): "
        if members - masked < 2:
            why += "fewer than two are left, and the run started again from earlier members"
        else:
            why += "fewer than half are left to answer for all"
        return why, "see where the model or the observation operator returns NaN or huge numbers"
    went_on = "the forecast went on in its place"
    if steps > 0:
        why = f"the sampler's solve did not succeed in {counted(steps, 'step')} and {rejected} "
        why += f"rejected, or the measurement is infinite; {went_on}"
        return (
            why,
            "a larger max_steps, positive bandwidths below tau_max, NaN for what is not measured",
        )
    why = f"the analysis is not finite, or the measurement is infinite; {went_on}"
    return why, "NaN for no measurement; bandwidths and noise within the range of the dtype"
