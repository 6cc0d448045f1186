"""Are the default's ensembles honest? Rank histograms over independent runs, on every system.

python benchmarks/rank_histograms.py [NAME:MEMBERS ...]    writes results/rank_histograms.json

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

import jax
import jax.numpy as jnp
import numpy as np
from common import save

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.sweeping import use_every_core

SEEDS = tuple(range(2000, 2020))
CYCLES = 500
SYSTEMS = ("lorenz63-full:100", "lorenz63-z:250", "sakov2012:100", "ramgraber2022:100",
           "bocquet2010:100", "lorenz96-10:100", "lorenz96-20:100", "lorenz96-40:40",
           "toy-bimodal:100")  # fmt: skip
FILTERS = ("kde-auto", "enkf")
LARGEST_LAG = 50
LEVEL = 0.01


def ranks_of(experiment, name, members):
    """Return a run: seed -> the truth's rank among the members [t d], and whether it failed."""
    cycles = min(experiment.num_cycles, CYCLES)
    analysis = experiment.filter(name, members)

    def run(point):
        seed = point["seed"]
        twin = experiment.twin(seed, members, cycles, jnp.dtype(jnp.float32))
        key = jax.random.fold_in(jax.random.key(seed), 2)
        result = kd.assimilate(
            key, experiment.dynamics, experiment.observation, analysis, twin.ensemble, twin.ys,
            save=lambda output: output.analysis,
        )  # fmt: skip
        below = jnp.sum(result.saved < twin.truth[:, None], axis=1, dtype=jnp.int32)
        return {"ranks": below, "failed": jnp.any(~result.info.ok)}

    return run


def decorrelation(ranks):
    """Return the first lag at which the autocorrelation of [s t d] is below 0.1."""
    z = ranks - ranks.mean(axis=(0, 1))
    for lag in range(1, min(LARGEST_LAG, z.shape[1] // 2)):
        if (z[:, lag:] * z[:, :-lag]).mean() < 0.1 * (z**2).mean():
            return lag
    return LARGEST_LAG


def calibration(ranks, members):
    """Return the test of [s t d] ranks."""
    lag = decorrelation(ranks)
    kept = ranks[:, ::lag].reshape(-1, ranks.shape[-1])
    counts = np.stack([np.bincount(column, minlength=members + 1) for column in kept.T])
    _, p = kd.metrics.rank_flatness(jnp.asarray(counts))
    tenth = kept * 10 // (members + 1)
    share = np.mean((tenth == 0) | (tenth == 9))
    expected = np.mean(np.isin(np.arange(members + 1) * 10 // (members + 1), (0, 9)))
    return {
        "lag": lag,
        "ranks per coordinate": len(kept),
        "p": min(1.0, float(np.min(p)) * len(counts)),
        "tails": float(share / expected),
        "deciles": np.stack([np.bincount(c, minlength=10) for c in tenth.T]).sum(0).tolist(),
    }


def main(systems):
    """Test every system."""
    body = {}
    for system in systems or SYSTEMS:
        name, members = system.split(":")
        experiment = experiments.load(name)
        experiment = dataclasses.replace(experiment, inflation=kd.SamplingInflation())
        body[system] = {}
        for label in FILTERS:
            found = kd.sweep(ranks_of(experiment, label, int(members)), {"seed": SEEDS}).values
            ranks = found["ranks"][:, min(experiment.burn_in, found["ranks"].shape[1] - 1) :]
            row = calibration(ranks[~found["failed"]], int(members))
            body[system][label] = row | {"failed runs": int(found["failed"].sum())}
            shown = {k: v for k, v in row.items() if k != "deciles"}
            print(system, label, shown, flush=True)
    settings = {"cycles": CYCLES, "seeds": SEEDS, "level": LEVEL}
    save("rank_histograms", settings, {"level": LEVEL, "systems": body})


if __name__ == "__main__":
    use_every_core()
    main(sys.argv[1:])
