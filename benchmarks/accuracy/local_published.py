"""The untuned localised filters where others publish tuned ones on fields.

    python benchmarks/accuracy/local_published.py           writes results/local_published.json
                                                            (40 minutes)
    python benchmarks/accuracy/local_published.py NAME ..   some experiments: replaces their rows

Seeds 200 to 202, the first cycles of each experiment. RMSE of the analysis mean after its burn-in,
by seed; CPU seconds of a cycle of one run, model included (the seeds run in one program), with one
thread of OpenBLAS. Each row has the commit that it was measured at.
"""

from __future__ import annotations

import os
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.records import RESULTS, commit, read, save
from kdediff_jax import experiments

SEEDS = tuple(range(200, 203))
FILTERS = ("lenkpf", "letkf")
CELLS = {  # members and cycles, the burn-in included
    "bocquet2019": ((16,), 600),
    "enff-ks": ((20,), 300),
    "enff-ns": ((20,), 200),
    "dalearning-l96": ((10, 15, 20, 40, 60, 100), 500),
    "dalearning-ks": ((10, 15, 20, 40, 60, 100), 300),
}


def run(experiment, analysis, members, cycles):
    """Return RMSE [s] and CPU seconds of a cycle of one run."""

    def one(scheme, seed):
        twin = experiment.twin(seed, members, cycles, jnp.dtype(jnp.float32))
        key = jax.random.fold_in(jax.random.key(seed), 2)
        models = experiment.dynamics, experiment.observation
        result = kd.assimilate(key, *models, scheme, twin.ensemble, twin.ys)
        error = kd.metrics.rmse(result.mean, twin.truth)[experiment.burn_in :]
        return jnp.where(jnp.all(result.info.ok), jnp.mean(error), jnp.nan)

    seeds = jnp.asarray(SEEDS)
    compiled = jax.jit(jax.vmap(one, in_axes=(None, 0))).lower(analysis, seeds).compile()
    begin = time.process_time()
    values = np.asarray(jax.block_until_ready(compiled(analysis, seeds)))
    return values, (time.process_time() - begin) / cycles / len(SEEDS)


def measure(name):
    """Return the rows of an experiment."""
    experiment, (sizes, cycles), rows = experiments.load(name), CELLS[name], []
    for members in sizes:
        published = {
            f"{p.method}, N = {p.members}": p.value
            for p in experiment.expected
            if p.score == "rmse" and p.members == members
        }
        for label in FILTERS:
            values, seconds = run(experiment, experiment.filter(label, members), members, cycles)
            row = {"experiment": name, "members": members, "filter": label, "cycles": cycles}
            row |= {"rmse": values.tolist(), "CPU seconds a cycle": seconds, "commit": commit()}
            rows.append(row | {"published": published})
            print(
                f"{name} N = {members} {label}: RMSE {values.mean():.4f} ({values.round(4)}), "
                f"{1e3 * seconds:.1f} ms of CPU a cycle; published {published}",
                flush=True,
            )
    return rows


def main(names):
    """Measure experiments, and keep them beside what was measured of the others."""
    earlier = read("local_published")["rows"] if (RESULTS / "local_published.json").exists() else []
    rows = {name: [row for row in earlier if row["experiment"] == name] for name in CELLS}
    settings = {"seeds": SEEDS, "cells": CELLS}
    for name in names or CELLS:
        rows[name] = measure(name)
        save("local_published", settings, {"rows": [row for each in rows.values() for row in each]})


if __name__ == "__main__":
    main(sys.argv[1:])
