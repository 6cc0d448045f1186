"""The paper's kernel with bandwidths from rules, in scale-free units, and with replicates.

python benchmarks/accuracy/bandwidth_rules.py    writes results/bandwidth_rules.json (20 minutes)

Energy score on scoring seeds 2000 to 2007. "tuned" takes the best pair of a grid for each problem,
on tuning seeds 1000 to 1003; "one pair for all" the pair with the best mean over problems of the
score relative to the tuned one, on the same seeds. Everything draws from the mixture.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.comparison import standard_error
from benchmarks.shared.records import save
from benchmarks.shared.runs import scored_run
from kdediff_jax import experiments
from kdediff_jax.sweeping import use_every_core

CASES = (("lorenz63-z", 250), ("lorenz63-full", 100), ("lorenz96-10", 100))
TUNING, SCORING = tuple(range(1000, 1004)), tuple(range(2000, 2008))
OWN = {"lorenz63": ((0.2, 0.5, 1.0, 2.0), (1.0, 2.0, 5.0, 10.0)),
       "lorenz96": ((0.3, 0.5, 0.7, 1.0), (0.7, 1.0, 1.5, 2.0))}  # fmt: skip
PER_SPREAD = ((0.05, 0.1, 0.2, 0.4), (0.2, 0.35, 0.6, 1.0))  # of the forecast's spread
SCALINGS = (None, "standardised", "whitened")
SCORE = "energy_score"


def filtered(name, members, build):
    """Return a run: a point of `state`, `obs` (where asked for) and `seed` -> its score."""
    experiment = experiments.load(name)

    def run(point):
        numbers = [point[k].astype(jnp.float32) for k in ("state", "obs") if k in point]
        scores = scored_run(experiment, build(*numbers), members, point["seed"])
        return {SCORE: scores[SCORE]}

    return run


def product(state, obs=None, scaling=None, replicates=1):
    return kd.KDEDiffusion(
        state_bandwidth=state,
        obs_bandwidth=obs,
        scaling=scaling,
        replicates=replicates,
        sampler=kd.ExactMixture(latents="low-variance"),
    )


def summary(values):
    good = values[np.isfinite(values)]
    return {
        "mean": round(float(good.mean()), 4),
        "standard error": round(float(standard_error(good)), 4),
        "failed": int(len(values) - len(good)),
    }


def grid(name, scaling):
    """Return the bandwidths to try: in the problem's units, or in those of the spread."""
    return OWN[name[:8]] if scaling is None else PER_SPREAD


def pairs_tried(name, members, scaling):
    """Return the scores over the grid of pairs [state, obs, seed], tuning seeds first."""
    states, obs = grid(name, scaling)
    run = filtered(name, members, lambda a, b: product(a, b, scaling))
    found = kd.sweep(run, {"state": states, "obs": obs, "seed": TUNING + SCORING})
    return np.where(np.isfinite(found.values[SCORE]), found.values[SCORE], np.inf)


def scored_pair(values, criterion, axes):
    """Return the pair of least criterion [state, obs], and how it does on the scoring seeds."""
    place = np.unravel_index(np.argmin(criterion), criterion.shape)
    pair = [float(axis[i]) for axis, i in zip(axes, place, strict=True)]
    return {**summary(values[place][len(TUNING) :]), "pair": pair}


def rules(h_x, h_y):
    """Return what sets its own bandwidths, and replicates at the tuned pair."""
    both = kd.ConditionalLeaveOneOut()
    return {
        "Silverman for both": lambda: product(kd.Silverman(), kd.Silverman()),
        "Scott for both": lambda: product(kd.Scott(), kd.Scott()),
        "LeaveOneOut, TargetESS(0.5)": lambda: product(kd.LeaveOneOut(), kd.TargetESS(0.5)),
        "LeaveOneOut, TargetESS(0.2)": lambda: product(kd.LeaveOneOut(), kd.TargetESS(0.2)),
        "ConditionalLeaveOneOut": lambda: product(both),
        "ConditionalLeaveOneOut, whitened": lambda: product(both, scaling="whitened"),
        "tuned, 8 replicates": lambda: product(h_x, h_y, replicates=8),
        "untuned filter": lambda: kd.EnKPF(),
    }


def case(name, n):
    """Return the rows of one problem, and the scores over its grids by scaling."""
    tried = {scaling: pairs_tried(name, n, scaling) for scaling in SCALINGS}
    rows = {
        f"tuned, {scaling or 'own'}": scored_pair(values, on_tuning(values), grid(name, scaling))
        for scaling, values in tried.items()
    }
    for label, build in rules(*rows["tuned, own"]["pair"]).items():
        rows[label] = summary(kd.sweep(filtered(name, n, build), {"seed": SCORING}).values[SCORE])
        print(name, n, label, rows[label], flush=True)
    return rows, tried


def on_tuning(values):
    """Return the mean over the tuning seeds."""
    return values[:, :, : len(TUNING)].mean(axis=2)


def main():
    use_every_core()
    cases = {f"{name}:{n}": case(name, n) for name, n in CASES}
    for scaling in SCALINGS[1:]:
        relative = [on_tuning(t[scaling]) / on_tuning(t[None]).min() for _, t in cases.values()]
        criterion = np.mean(relative, axis=0)
        for rows, tried in cases.values():
            row = scored_pair(tried[scaling], criterion, PER_SPREAD)
            rows[f"one pair for all, {scaling}"] = row
    table = {name: rows for name, (rows, _) in cases.items()}
    for name, rows in table.items():
        for label, row in rows.items():
            print(name, label, row)
    save("bandwidth_rules", {"tuning": TUNING, "scoring": SCORING}, {"cases": table})


if __name__ == "__main__":
    main()
