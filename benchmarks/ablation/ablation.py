"""What each part of the untuned filter is worth: one setting at a time switched off or moved.

python benchmarks/ablation/ablation.py [CELL ...]    goes on from results/ablation.json (2 h)
python benchmarks/ablation/ablation.py --set NAME    parts together, or more of them, on other seeds
                                                     (15 min): again, undoubted, doubt, lost, chance

Energy score on the seeds 6000 to 6015, which no other benchmark scores on; at most 400 cycles.
Differences from the filter as it is are paired by seed. A run has failed if a cycle did, and is
lost if its energy score is not below that of the same members without any measurement. The variants
are in `variants.py`; those that differ in numbers alone are points of one program.
"""

from __future__ import annotations

import json
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from benchmarks.ablation.variants import variants_of, variants_of_set
from benchmarks.shared.cells import cycles_of, problem
from benchmarks.shared.comparison import standard_error
from benchmarks.shared.records import OUTPUT, RESULTS, save
from benchmarks.shared.runs import scored_run, unmeasured
from kdediff_jax.sweeping import use_every_core

SEEDS = tuple(range(6000, 6016))
CYCLES = 400
# problems that the filter was not developed on, then some that it was
CELLS = (
    *("anderson2010rhf:20", "anderson2010rhf:50", "anderson2010rhf:50:student-t", "wiljes2017:50"),
    *("dalearning-l63:100", "lorenz84:30", "lotka-volterra:40", "growth:50", "growth:250"),
    *("bocquet2010-m40:24", "dalearning-l96:20", "dalearning-l96:40", "dalearning-ks:20"),
    *("toy-bimodal:100", "lorenz63-z:100", "sakov2012:100", "ramgraber2022:100", "lorenz96-10:100"),
    *("lorenz96-40:40", "spantini2019:60", "sakov2008:40", "bao2024:20"),
)
# of the sets of variants in `variants.SETS`: other seeds, and cells
FEW = (
    *("anderson2010rhf:20", "anderson2010rhf:50", "anderson2010rhf:50:student-t"),
    *("dalearning-l63:100", "wiljes2017:50", "lorenz84:30", "lotka-volterra:40", "growth:50"),
    *("lorenz63-full:100:gaussian:absolute", "toy-bimodal:100", "lorenz63-z:50"),
)
OTHERS = {
    "again": (
        tuple(range(6016, 6040)),
        (*FEW, "growth:250", "lorenz63-z:100", "sakov2012:100", "ramgraber2022:100"),
    ),
    "undoubted": (tuple(range(6016, 6040)), FEW),
    "doubt": (
        tuple(range(6016, 6032)),
        ("bocquet2010-m40:100", "dalearning-l96:100", "lorenz96-10:50", "lorenz96-20:50"),
    ),
    "lost": (
        tuple(range(6016, 6032)),
        (
            *("dalearning-l96:10", "dalearning-l96:20", "dalearning-ks:20", "bocquet2010-m40:24"),
            *("sakov2008:20", "spantini2019:40", "lorenz96-40:40", "bao2024:20"),
        ),
    ),
    "chance": (
        tuple(range(6040, 6056)),
        (
            *("dalearning-l96:10", "dalearning-l96:20", "dalearning-ks:10", "dalearning-ks:20"),
            *("spantini2019:10", "spantini2019:20", "spantini2019:40", "sakov2008:10"),
            *("sakov2008:20", "bocquet2010-m40:20", "bocquet2019:16", "bao2024:20"),
        ),
    ),
}
KEPT = ("energy_score", "rmse", "spread", "coverage", "failed")


def programs(filters):
    """Group filters that differ in numbers alone: (labels, stacked numbers, all the rest)."""
    groups = []
    for label, scheme in filters.items():
        numbers, rest = eqx.partition(scheme, eqx.is_array)
        kind = jax.tree.map(jnp.shape, numbers), rest
        for known, labels, stack in groups:
            if eqx.tree_equal(known, kind):
                labels.append(label)
                stack.append(numbers)
                break
        else:
            groups.append((kind, [label], [numbers]))
    return [
        (labels, jax.tree.map(lambda *leaves: jnp.stack(leaves), *stack), rest)
        for (_, rest), labels, stack in groups
    ]


def scores(experiment, n, cycles, variants, seeds):
    """Return the scores [seed] of every variant, by label."""
    filters = {label: build() for label, build in variants.items()}
    found = {}
    for labels, numbers, rest in programs(filters):

        def run(point, numbers=numbers, rest=rest):
            mine = jax.tree.map(lambda leaf: leaf[point["variant"]], numbers)
            scored = scored_run(experiment, eqx.combine(mine, rest), n, point["seed"], cycles)
            return {name: scored[name] for name in KEPT}

        values = kd.sweep(run, {"variant": tuple(range(len(labels))), "seed": seeds}).values
        found |= {label: {k: values[k][i] for k in KEPT} for i, label in enumerate(labels)}
    return {label: found[label] for label in filters}


def compare(mine, default):
    """Return the paired difference of two sets of scores, in itself and in standard errors."""
    both = np.isfinite(mine) & np.isfinite(default)
    gap = (mine - default)[both]
    if len(gap) < 3:
        return {"pairs": len(gap), "difference": None, "in se": None, "worse": None}
    error = standard_error(gap)
    return {
        "pairs": len(gap),
        "difference": float(gap.mean()),
        "in se": float(gap.mean() / error) if error > 0 else 0.0,
        "worse": int((gap > 0).sum()),
    }


def line(raw, default, free):
    """Return what is kept of a variant, given the scores of the filter as it is."""
    score, lost, failed = outcome(raw, free)
    known, known_lost, _ = outcome(default, free)
    sound = compare(np.where(lost, np.nan, score), np.where(known_lost, np.nan, known))
    return {
        "mean": float(np.nanmean(score)) if not failed.all() else None,
        "median": float(np.nanmedian(score)) if not failed.all() else None,
        **compare(score, known),
        "without lost runs": sound,
        **{k: float(np.nanmean(raw[k])) for k in ("coverage", "rmse", "spread")},
        "failed": int(failed.sum()),
        "lost": int(lost.sum()),
        "scores": [None if f else float(s) for f, s in zip(failed, score, strict=True)],
    }


def outcome(raw, free):
    """Return the energy scores, NaN where a run failed, and which runs are lost, which failed."""
    score = np.asarray(raw["energy_score"], float)
    failed = (np.asarray(raw["failed"]) > 0) | ~np.isfinite(score)
    return np.where(failed, np.nan, score), ~failed & (score >= free), failed


def one(cell, choose=variants_of, seeds=SEEDS):
    """Return a cell's lines."""
    experiment, n = problem(cell)
    cycles = min(cycles_of(experiment), max(CYCLES, experiment.burn_in + 200))
    free = unmeasured(experiment.name, n, cycles, seeds)
    found = scores(experiment, n, cycles, choose(experiment), seeds)
    rows = {}
    for label, raw in found.items():
        rows[label] = line(raw, found["default"], free)
        shown = {k: rows[label][k] for k in ("mean", "in se", "coverage", "failed", "lost")}
        print(cell, label, shown, flush=True)
    return {
        "cycles": cycles,
        "seeds": seeds,
        "unmeasured energy score": float(free.mean()),
        "variants": rows,
    }


def start(name):
    """Return the cells to go on from."""
    for folder in (OUTPUT, RESULTS):
        if (folder / f"{name}.json").exists():
            return json.loads((folder / f"{name}.json").read_text())["cells"]
    return {}


def main(chosen):
    """Run the cells named, or all that are not in the record yet."""
    cells = start("ablation")
    for cell in chosen or [c for c in CELLS if c not in cells]:
        cells[cell] = one(cell)
        save("ablation", {"seeds": SEEDS, "cycles": CYCLES}, {"cells": cells})


def others(name):
    """Run a set of variants on other seeds."""
    seeds, chosen = OTHERS[name]
    cells = start(f"ablation_{name}")
    for cell in [c for c in chosen if c not in cells]:
        cells[cell] = one(cell, lambda experiment: variants_of_set(name, experiment), seeds)
        settings = {"seeds": seeds, "cycles": CYCLES}
        save(f"ablation_{name}", settings, {"cells": cells})


if __name__ == "__main__":
    use_every_core()
    if sys.argv[1:2] == ["--set"]:
        others(sys.argv[2])
    else:
        main(sys.argv[1:])
