"""Are the untuned filter's ensembles honest? Rank histograms of independent runs, on every system.

python benchmarks/accuracy/rank_histograms.py                  writes results/rank_histograms.json
python benchmarks/accuracy/rank_histograms.py NAME:MEMBERS ..  tests some, writes nothing

20 runs (seeds 2000 to 2019) of at most 500 cycles each. Ranks of successive cycles are correlated,
which makes a chi-square test call any filter wrong: only every k-th cycle counts, k the first lag
at which the ranks' autocorrelation, over all runs and coordinates, is below 0.1. The histogram of a
coordinate has as many bins as leave five expected counts in each; p is the smallest over the
coordinates times their number (Bonferroni). "tails" is the share of ranks in the lowest and highest
tenth over what it should be: above 1 overconfident, below 1 too wide. The untuned EnKF, with the
same rule of inflation, is shown beside it.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np

import kdediff_jax as kd
from benchmarks.shared.records import save
from kdediff_jax import experiments
from kdediff_jax.experiments.sweeps import ExperimentRun
from kdediff_jax.sweeping import use_every_core

SEEDS = tuple(range(2000, 2020))
CYCLES = 500
SYSTEMS = ("lorenz63-full:100", "lorenz63-z:250", "sakov2012:100", "ramgraber2022:100",
           "bocquet2010:100", "lorenz96-10:100", "lorenz96-20:100", "lorenz96-40:40",
           "spantini2019:60", "toy-bimodal:100")  # fmt: skip
LARGEST_LAG = 50
LEVEL = 0.01


def runs(experiment, name, members):
    """Return analyses [s t n d] and truths [s t d] after burn-in of the runs that did not fail."""
    cycles = min(experiment.num_cycles, CYCLES)
    run = ExperimentRun(experiment, name, members, num_cycles=cycles, keep="ensembles")
    found = kd.sweep(run, {"seed": SEEDS}).values
    sound, first = found["failed"] == 0, min(experiment.burn_in, cycles - 1)
    return found["ensembles"][sound, first:], found["truth"][sound, first:]


def decorrelation(ranks):
    """Return the first lag at which the autocorrelation of [s t d] is below 0.1."""
    z = ranks - ranks.mean(axis=(0, 1))
    for lag in range(1, min(LARGEST_LAG, z.shape[1] // 2)):
        if (z[:, lag:] * z[:, :-lag]).mean() < 0.1 * (z**2).mean():
            return lag
    return LARGEST_LAG


def calibration(ensembles, truths):
    """Return the test of the ranks of [s t d] truths among [s t n d] members."""
    n, d = ensembles.shape[2:]
    ranks = (ensembles < truths[:, :, None]).sum(axis=2)
    lag = decorrelation(ranks)
    thinned = (v[:, ::lag].reshape(-1, *v.shape[2:]) for v in (ensembles, truths))
    counts = kd.metrics.rank_histogram(*thinned)
    _, p = kd.metrics.rank_flatness(counts)
    tenth = np.arange(n + 1) * 10 // (n + 1)
    total = np.asarray(counts).sum(axis=0)
    outer = np.isin(tenth, (0, 9))
    return {
        "lag": lag,
        "ranks per coordinate": int(total.sum()) // d,
        "p": min(1.0, float(np.min(p)) * d),
        "tails": float(total[outer].sum() / total.sum() / outer.mean()),
        "deciles": np.bincount(tenth, weights=total).astype(int).tolist(),
        "failed runs": len(SEEDS) - len(truths),
    }


def main(systems):
    """Test every system."""
    body = {}
    for system in systems or SYSTEMS:
        name, members = system.split(":")
        experiment = experiments.load(name)
        experiment = dataclasses.replace(experiment, inflation=kd.SamplingInflation())
        body[system] = {}
        for label in (experiment.recommended, "enkf"):
            row = calibration(*runs(experiment, label, int(members)))
            body[system][label] = row
            shown = {k: v for k, v in row.items() if k != "deciles"}
            print(system, label, shown, flush=True)
    settings = {"cycles": CYCLES, "seeds": SEEDS, "level": LEVEL}
    body = {"level": LEVEL, "systems": body}
    save("rank_histograms", settings, body, partial=bool(systems))


if __name__ == "__main__":
    use_every_core()
    main(sys.argv[1:])
