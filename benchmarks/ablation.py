"""What each part of the default is worth: one setting at a time switched off or moved.

python benchmarks/ablation.py    writes benchmarks/results/ablation.json (half an hour)

Energy score on the 24 seeds 6000 to 6023 that the default was developed on; those of `untuned.py`
are others. Differences are paired by seed. All variants of a problem are points of one program, but
for the two fixed Kalman shares, which are a program of their own.
"""

from __future__ import annotations

import contextlib
import sys

import jax.numpy as jnp
import numpy as np
from common import save
from comparison import standard_error
from problems import scored_run
from untuned import CYCLES, LONGER, problem

import kdediff_jax as kd
from kdediff_jax.analysis.bridge import DOUBT
from kdediff_jax.sweeping import use_every_core

SEEDS = tuple(range(6000, 6024))
CELLS = (
    *("lorenz63-full:100", "lorenz63-full:100:gaussian:absolute", "lorenz63-z:100"),
    *("sakov2012:100", "ramgraber2022:100", "lorenz96-10:100", "toy-bimodal:100"),
)
NEVER = float("inf")
VARIANTS = {
    "default": {},
    "masses of modes as the weights say": {"caution": 0.0},
    "kernel of the forecast's shape": {"members_per_direction": NEVER},
    "kernel of the weighted members' shape": {"members_per_direction": 1e-6},
    "one gain for all members": {"locality": NEVER},
    "spread never doubted": {"doubt": 0.0},
    "no surprise": {"surprise": NEVER},
    "half the noise budget": {"noise_budget": 0.05},
    "twice the noise budget": {"noise_budget": 0.2},
    "a third of the evidence": {"evidence": 0.033},
    "three times the evidence": {"evidence": 0.3},
}
SHARES = {
    "kernel only (Kalman share 0)": {"kalman_share": 0.0},
    "Kalman gain only (share 1)": {"kalman_share": 1.0},
}
START = vars(kd.CovarianceKernel(doubt=DOUBT))


@contextlib.contextmanager
def build(experiment, settings):
    """Give the filter of some settings, for as long as its runs are traced."""
    kernel = kd.CovarianceKernel(**settings)
    yield kd.KDEDiffusion(kernel=kernel, localisation=experiment.localisation)


def table(variants, start):
    """Return every setting that varies as an array over the variants."""
    names = dict.fromkeys(name for settings in variants.values() for name in settings)
    rows = {
        name: [settings.get(name, start.get(name)) for settings in variants.values()]
        for name in names
    }
    return {name: jnp.asarray(row, jnp.float32) for name, row in rows.items()}


def scores(cell, variants, seeds=SEEDS, start=START, build=build):
    """Return the scores [variant, seed] of a cell; `build` makes a filter of settings."""
    experiment, n = problem(cell)
    cycles = LONGER.get(experiment.name, CYCLES)
    settings = table(variants, start)

    def run(point):
        mine = {name: row[point["variant"]] for name, row in settings.items()}
        with build(experiment, mine) as default:
            found = scored_run(experiment, default, n, point["seed"], cycles)
        return {name: found[name] for name in ("energy_score", "coverage", "failed")}

    return kd.sweep(run, {"variant": tuple(range(len(variants))), "seed": seeds}).values


def lines(cell, groups=(VARIANTS, SHARES), **kwargs):
    """Return mean, median, paired difference from the default, coverage and failed runs."""
    parts = [(names, scores(cell, names, **kwargs)) for names in groups]
    default = np.asarray(parts[0][1]["energy_score"][0], float)
    rows = {}
    for names, found in parts:
        for i, label in enumerate(names):
            score = np.asarray(found["energy_score"][i], float)
            gap = score - default
            error = standard_error(gap)
            rows[label] = {
                "mean": float(score.mean()),
                "median": float(np.median(score)),
                "difference / standard error": float(gap.mean() / error) if error > 0 else 0.0,
                "coverage": float(np.mean(found["coverage"][i])),
                "failed": int(np.sum(np.asarray(found["failed"][i]) > 0)),
            }
            print(cell, label, {k: round(v, 3) for k, v in rows[label].items()}, flush=True)
    return rows


if __name__ == "__main__":
    use_every_core()
    cells = sys.argv[1:] or CELLS
    settings = {"seeds": SEEDS, "variants": str(VARIANTS | SHARES)}
    save("ablation", settings, {"cells": {cell: lines(cell) for cell in cells}})
