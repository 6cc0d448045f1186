"""The paper's kernel with bandwidths from rules, in scale-free units, and with replicates.

python benchmarks/bandwidth_rules.py    writes benchmarks/results/bandwidth_rules.json (20 minutes)

Energy score on scoring seeds 2000 to 2007. "tuned" takes the best pair of a grid for each problem,
on tuning seeds 1000 to 1003; "one pair for all" the pair with the best mean over problems of the
score relative to the tuned one, on the same seeds. Everything draws from the mixture.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from common import save
from comparison import standard_error
from problems import scored_run

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.sweeping import use_every_core

CASES = (("lorenz63-z", 250), ("lorenz63-full", 100), ("lorenz96-10", 100))
TUNING, SCORING = tuple(range(1000, 1004)), tuple(range(2000, 2008))
OWN = {"lorenz63": ((0.2, 0.5, 1.0, 2.0), (1.0, 2.0, 5.0, 10.0)),
       "lorenz96": ((0.3, 0.5, 0.7, 1.0), (0.7, 1.0, 1.5, 2.0))}  # fmt: skip
UNITS = ((0.05, 0.1, 0.2, 0.4), (0.2, 0.35, 0.6, 1.0))  # of the forecast's spread
SCORE = "energy_score"


def filtered(name, members, build):
    """Return a run: a point of `state`, `obs` (where asked for) and `seed` -> scores."""
    experiment = experiments.load(name)

    def run(point):
        numbers = [point[k].astype(jnp.float32) for k in ("state", "obs") if k in point]
        scores = scored_run(experiment, build(*numbers), members, point["seed"])
        return {SCORE: scores[SCORE], "ess": scores["ess"]}

    return run


def product(state, obs=None, coordinates="own", replicates=1):
    return kd.KDEDiffusion(
        state_bandwidth=state,
        obs_bandwidth=obs,
        kernel=kd.ProductKernel(coordinates, replicates),
        sampler=kd.ExactMixture(latents="low-variance"),
    )


def summary(values):
    good = values[np.isfinite(values)]
    return {
        "mean": round(float(good.mean()), 4),
        "standard error": round(float(standard_error(good)), 4),
        "failed": int(len(values) - len(good)),
    }


def grids(name, members, coordinates):
    """Return the scores over a grid of pairs [state, obs, seed], tuning seeds first."""
    states, obs = OWN[name[:8]] if coordinates == "own" else UNITS

    def build(a, b):
        return product(a, b, coordinates)

    run = filtered(name, members, build)
    found = kd.sweep(run, {"state": states, "obs": obs, "seed": TUNING + SCORING})
    return np.where(np.isfinite(found.values[SCORE]), found.values[SCORE], np.inf), (states, obs)


def rules(h_x, h_y):
    """Return what sets its own bandwidths, and replicates at the tuned pair."""
    both = kd.ConditionalLeaveOneOut()
    return {
        "Silverman for both": lambda: product(kd.Silverman(), kd.Silverman()),
        "Scott for both": lambda: product(kd.Scott(), kd.Scott()),
        "LeaveOneOut, TargetESS(0.5)": lambda: product(kd.LeaveOneOut(), kd.TargetESS(0.5)),
        "LeaveOneOut, TargetESS(0.2)": lambda: product(kd.LeaveOneOut(), kd.TargetESS(0.2)),
        "ConditionalLeaveOneOut": lambda: product(both),
        "ConditionalLeaveOneOut, whitened": lambda: product(both, coordinates="whitened"),
        "tuned, 8 replicates": lambda: product(h_x, h_y, replicates=8),
        "untuned default": lambda: kd.KDEDiffusion(),
    }


def main():
    use_every_core()
    table, pairs, over = {}, {}, {}
    for name, n in CASES:
        rows = table[f"{name}:{n}"] = {}
        for coordinates in ("own", "standardised", "whitened"):
            values, axes = grids(name, n, coordinates)
            tuned = values[:, :, : len(TUNING)].mean(axis=2)
            place = np.unravel_index(np.argmin(tuned), tuned.shape)
            pair = [float(axis[i]) for axis, i in zip(axes, place, strict=True)]
            rows[f"tuned, {coordinates}"] = {**summary(values[place][len(TUNING) :]), "pair": pair}
            if coordinates == "own":
                best, own = tuned[place], pair
            else:
                over.setdefault(coordinates, []).append(tuned / best)
                pairs.setdefault(coordinates, []).append(values)
        for label, build in rules(*own).items():
            found = kd.sweep(filtered(name, n, build), {"seed": SCORING})
            rows[label] = summary(found.values[SCORE])
            print(name, n, label, rows[label], flush=True)
    for coordinates, ratios in over.items():
        mean = np.mean(ratios, axis=0)
        place = np.unravel_index(np.argmin(mean), mean.shape)
        pair = [float(axis[i]) for axis, i in zip(UNITS, place, strict=True)]
        for rows, values in zip(table.values(), pairs[coordinates], strict=True):
            scored = summary(values[place][len(TUNING) :])
            rows[f"one pair for all, {coordinates}"] = {**scored, "pair": pair}
    for case, rows in table.items():
        for label, row in rows.items():
            print(case, label, row)
    save("bandwidth_rules", {"tuning": TUNING, "scoring": SCORING}, {"cases": table})


if __name__ == "__main__":
    main()
