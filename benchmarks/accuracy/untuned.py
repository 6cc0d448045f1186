"""The untuned filter against the best-tuned classical filters, over the whole suite.

python benchmarks/accuracy/untuned.py [CELL ...]   goes on from benchmarks/results/untuned.json
python benchmarks/accuracy/untuned.py --untuned    runs the untuned filter again in the cells on
                                                   record (or in those named), no rival
python benchmarks/accuracy/untuned.py --reference  scores the reference posterior of lorenz63-z
python benchmarks/accuracy/untuned.py --list

A cell is experiment:members, or experiment:members:noise:operator with another measurement; the
untuned filter is `EnKPF`, or `LEnKPF` where the experiment has a localisation. Rules, the same for
every cell: EnKF (which knows h and R, as the untuned filter does) tries 9 inflations, SIR (which
knows the density) 9 jitters, on tuning seeds 1000 to 1003, and the best by energy score runs on
scoring seeds 2000 to 2009; the untuned filter runs on these as it is. In the experiments of few
dimensions named by `MORE` these are 1000 to 1015 and 4000 to 4039. The untuned filter's own
constants were chosen once for all problems, on seeds 0 to 15, those of the localised filter, with
rotation, on 6000 to 6015; that no step overshoots was tried on 1900 to 2047 and 3000 to 3127. At
most 500 cycles (sakov2008 600), float32. Where the experiment has a localisation, two tuned LETKFs
are rivals too, one without and one with random rotations of the ensemble (angle 1; best of the 4
inflations 1 to 1.1, which the published LETKFs with rotations use). Differences are paired by seed,
which holds on one kind of device alone: on another, rounding leads to another truth.
A run has diverged if a cycle failed or its energy score is not below that of the same members
without any measurement.
"""

from __future__ import annotations

import dataclasses
import json
import sys

import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.cells import CELLS, cycles_of, problem
from benchmarks.shared.comparison import compare, untuned_label
from benchmarks.shared.records import OUTPUT, RESULTS, commit, save
from benchmarks.shared.runs import unmeasured
from kdediff_jax import experiments
from kdediff_jax.experiments.scores import mean_w2
from kdediff_jax.experiments.sweeps import ExperimentRun, references
from kdediff_jax.sweeping import use_every_core

TUNING, SCORING = tuple(range(1000, 1004)), tuple(range(2000, 2010))
# in few dimensions a run costs little, and one lost run or mode decides the mean of ten
MORE = ("toy-bimodal", "lorenz63-full", "ramgraber2022", "sakov2012")
MORE_TUNING, MORE_SCORING = tuple(range(1000, 1016)), tuple(range(4000, 4040))
INFLATIONS = (1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0)
ROTATED_INFLATIONS, ROTATION_ANGLE = (1.0, 1.02, 1.05, 1.1), 1.0
JITTERS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.4, 1.9, 2.5)
SCORES = ("energy_score", "crps", "rmse", "spread", "coverage", "rank_p", "ess")
W2_EVERY = 5
SETTINGS = {
    "tuning": TUNING,
    "scoring": SCORING,
    "inflations": INFLATIONS,
    "jitters": JITTERS,
    "more seeds": MORE,
    "their tuning": MORE_TUNING,
    "their scoring": MORE_SCORING,
}
OPTIONS = ("--list", "--untuned", "--reference")


def seeds(name):
    """Return the tuning and the scoring seeds of an experiment."""
    return (MORE_TUNING, MORE_SCORING) if name in MORE else (TUNING, SCORING)


def chosen(run, axis, values, tuning, scoring):
    """Return the setting of least mean energy score on the tuning seeds, and its scoring runs.

    One sweep for both: on small problems compiling a second program costs more than running.
    """
    found = kd.sweep(run, {axis: values, "seed": tuning + scoring}).values
    place = _least(found["energy_score"][:, : len(tuning)])
    return {axis: values[place]}, {k: v[place, len(tuning) :] for k, v in found.items()}


def rotated(run, tuning, scoring):
    """Return the same of a rotated LETKF: large problems, so the scoring runs come after."""
    turn = {"rotation_angle": (ROTATION_ANGLE,)}
    found = kd.sweep(run, turn | {"inflation": ROTATED_INFLATIONS, "seed": tuning}).values
    inflation = ROTATED_INFLATIONS[_least(found["energy_score"][0])]
    found = kd.sweep(run, turn | {"inflation": (inflation,), "seed": scoring}).values
    settings = {"inflation": inflation, "rotation_angle": ROTATION_ANGLE}
    return settings, {k: v[0, 0] for k, v in found.items()}


def _least(scores):
    """Return the first index of least mean over the second; a failed run is as bad as can be."""
    return int(np.argmin(np.where(np.isfinite(scores), scores, np.inf).mean(axis=1)))


def lines(experiment, n, cycles, keep):
    """Return by label what gives the settings and the scoring runs of each filter."""
    tuning, scoring = seeds(experiment.name)
    systematic = dataclasses.replace(experiment, sir_resampling="systematic")
    sampling = dataclasses.replace(experiment, inflation=kd.SamplingInflation())

    def run(name, of=experiment):
        return ExperimentRun(of, name, n, num_cycles=cycles, keep=keep)

    def as_it_is(program):
        return {}, kd.sweep(program, {"seed": scoring}).values

    def tuned(program, axis, values):
        return chosen(program, axis, values, tuning, scoring)

    mine = experiment.recommended
    found = {
        mine: lambda: as_it_is(run(mine)),
        "enkf, sampling inflation": lambda: as_it_is(run("enkf", sampling)),
        "enkf tuned": lambda: tuned(run("enkf"), "inflation", INFLATIONS),
        "sir tuned": lambda: tuned(run("sir", systematic), "jitter", JITTERS),
    }
    if experiment.localisation is not None:
        found["letkf tuned"] = lambda: tuned(run("letkf"), "inflation", INFLATIONS)
        found["letkf rotated tuned"] = lambda: rotated(run("letkf"), tuning, scoring)
    return found


def one(cell, known=None):
    """Run a cell, but for the lines that are known."""
    experiment, n = problem(cell)
    cycles = cycles_of(experiment)
    _, scoring = seeds(experiment.name)
    draws = None
    if experiment.name == "lorenz63-z":
        draws = np.asarray(references(experiment, scoring, cycles, draws=2000).draws)
    free = unmeasured(experiment.name, n, cycles, scoring)
    filters = {}
    for label, line in lines(experiment, n, cycles, "" if draws is None else "ensembles").items():
        if known and label in known and len(known[label]["scores"]["rmse"]) == len(scoring):
            filters[label] = known[label]
            continue
        settings, values = line()
        lost = (values["failed"] > 0) | ~(values["energy_score"] < free)
        filters[label] = {
            "settings": settings,
            "commit": commit(),
            "diverged": int(lost.sum()),
            "scores": scores_of(values, draws),
        }
    return {"cycles": cycles, "filters": filters}


def scores_of(values, draws):
    """Return the scores by seed, rounded; with reference draws [seed cycle ..] also W2."""
    scores = {k: values[k] for k in SCORES}
    if draws is not None:
        part = slice(W2_EVERY - 1, None, W2_EVERY)
        pairs = zip(values["ensembles"], draws, strict=True)
        scores["w2"] = np.array([mean_w2(e[part], d[part]) for e, d in pairs])
    return {k: np.asarray(v, float).round(5).tolist() for k, v in scores.items()}


def reference_scores(name):
    """Return the energy scores of the reference posterior itself on the scoring seeds.

    No filter is better in expectation. One that is, on ten seeds, was lucky.
    """
    experiment, (_, scoring) = experiments.load(name), seeds(name)
    found = references(experiment, scoring, draws=1000)
    scores = []
    for seed, draws in zip(scoring, found.draws, strict=True):
        truth = experiment.twin(seed, 2, experiment.num_cycles, jnp.dtype(jnp.float32)).truth
        scores.append(round(float(kd.metrics.energy_score(draws, truth).mean()), 5))
    return {"commit": commit(), "energy_score": scores}


def summary(cell, record):
    """Print one line: the scores of the untuned filter over the best tuned rival's."""
    filters = record["filters"]
    parts = []
    for score in ("energy_score", "crps", "rmse", "w2"):
        found = compare(filters, score)
        if found is not None:
            parts.append(
                f"{score} {found.untuned:.3f} / {found.rival:.3f} ({found.name}) "
                f"{found.difference:+.1f} se"
            )
    coverage = np.mean(filters[untuned_label(filters)]["scores"]["coverage"])
    diverged = {label: f["diverged"] for label, f in filters.items()}
    print(f"{cell}: {'; '.join(parts)}; coverage {coverage:.2f}; {diverged}", flush=True)


def rivals_of(record, cell):
    """Return the lines of a cell on record but the untuned filter's, with their commit."""
    filters = record["cells"][cell]["filters"]
    known = {label: line for label, line in filters.items() if label != untuned_label(filters)}
    for line in known.values():
        line.setdefault("commit", record["provenance"]["commit"][:10])
    return known


def start():
    """Return the record to go on from."""
    for folder in (OUTPUT, RESULTS):
        if (folder / "untuned.json").exists():
            return json.loads((folder / "untuned.json").read_text())
    return {"cells": {}}


def main(arguments):
    """Run the cells named, or all that are not in the record yet."""
    if "--list" in arguments:
        print("\n".join(CELLS))
        return
    record = start()

    def keep():
        save("untuned", SETTINGS, {k: v for k, v in record.items() if k != "provenance"})

    if "--reference" in arguments:
        record["reference"] = {"lorenz63-z": reference_scores("lorenz63-z")}
        keep()
        return
    again = "--untuned" in arguments
    cells = [a for a in arguments if a not in OPTIONS]
    if not cells:
        known = record["cells"]
        cells = list(known) if again else [c for c in CELLS if c not in known]
    for cell in cells:
        record["cells"][cell] = one(cell, rivals_of(record, cell) if again else None)
        summary(cell, record["cells"][cell])
        keep()


if __name__ == "__main__":
    use_every_core()
    assert jnp.zeros(()).dtype == jnp.float32
    main(sys.argv[1:])
