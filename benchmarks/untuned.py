"""The untuned default against the best-tuned classical filters, over the whole suite.

python benchmarks/untuned.py [CELL ...]    goes on from benchmarks/results/untuned.json
python benchmarks/untuned.py --default     runs the default again in the cells on record, no rival
python benchmarks/untuned.py --list

A cell is experiment:members, or experiment:members:noise:operator with another measurement.
Rules, the same for every cell: EnKF (which knows h and R, as the default filter does) tries 9
inflations, SIR (which knows the density) 9 jitters, on tuning seeds 1000 to 1003, and the best by
energy score runs on scoring seeds 2000 to 2009; the default filter runs on these as it is. In the
experiments of few dimensions named by `MORE` these are 1000 to 1015 and 4000 to 4039. The default's
own constants (noise budget, evidence, locality, surprise, doubt) were chosen once for all problems,
on seeds 0 to 15, those of the localised filter, with rotation, on 6000 to 6015; that no step
overshoots was tried on 1900 to 2047 and 3000 to 3127. At most 500 cycles (sakov2008 600), float32.
Where the experiment has a localisation, the default uses it, and two tuned LETKFs are rivals too,
one without and one with random rotations of the ensemble (angle 1; best of the 4 inflations 1 to
1.1, which the published LETKFs with rotations use).
Differences are paired by seed. A run has diverged if a cycle failed or its energy score is not
below that of the same members without any measurement.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys

import jax.numpy as jnp
import numpy as np
from common import RESULTS, save
from comparison import compare
from problems import absolute, arctan, cubed, scaled_std

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.experiments.scoring import mean_w2
from kdediff_jax.experiments.sweeps import ExperimentRun, references
from kdediff_jax.results import provenance
from kdediff_jax.sweeping import use_every_core

TUNING, SCORING = tuple(range(1000, 1004)), tuple(range(2000, 2010))
# in few dimensions a run costs little, and one lost run or mode decides the mean of ten
MORE = ("toy-bimodal", "lorenz63-full", "ramgraber2022", "sakov2012")
MORE_TUNING, MORE_SCORING = tuple(range(1000, 1016)), tuple(range(4000, 4040))
INFLATIONS = (1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0)
ROTATED_INFLATIONS, ROTATION = (1.0, 1.02, 1.05, 1.1), 1.0
JITTERS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.4, 1.9, 2.5)
SCORES = ("energy_score", "crps", "rmse", "spread", "coverage", "rank_p", "ess")
CYCLES = 500
LONGER = {"sakov2008": 600}  # its burn-in is 400
W2_EVERY = 5
NOISES = {
    "gaussian": kd.GaussianObservation,
    "laplace": kd.LaplaceObservation,
    "student-t": kd.StudentTObservation,
}
OPERATORS = {
    "linear": kd.observations.identity,
    "arctan": arctan,
    "absolute": absolute,
    "cubed": cubed,
}
CELLS = (
    *(f"lorenz96-10:{n}" for n in (50, 100, 250, 1000)),
    *(f"lorenz96-20:{n}" for n in (50, 100, 250)),
    *("lorenz63-full:100", "sakov2012:100", "ramgraber2022:100", "ramgraber2022:200"),
    *("ramgraber2022:400", "bocquet2010:100", "toy-bimodal:100"),
    *(f"lorenz63-z:{n}" for n in (20, 50, 100, 250, 1000)),
    *(f"lorenz63-full:100:{noise}:{operator}" for noise in NOISES for operator in OPERATORS),
    *(f"lorenz96-10:100:{noise}:{operator}" for noise in NOISES for operator in OPERATORS),
    *("lorenz96-40:40", "lorenz96-40:100", "spantini2019:40", "spantini2019:60"),
    *("spantini2019:100", "sakov2008:40", "bao2024:20", "lorenz96-20:1000"),
)


def problem(cell):
    """Return the experiment and the number of members of a cell."""
    name, members, *measurement = cell.split(":")
    experiment = experiments.load(name)
    if measurement:
        noise, operator = measurement
        h = OPERATORS[operator]
        std = scaled_std(experiment, h)
        experiment = dataclasses.replace(
            experiment, observation=NOISES[noise](h, std), sir_resampling="systematic"
        )
    return experiment, int(members)


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
    turn = {"rotation": (ROTATION,)}
    found = kd.sweep(run, turn | {"inflation": ROTATED_INFLATIONS, "seed": tuning}).values
    inflation = ROTATED_INFLATIONS[_least(found["energy_score"][0])]
    found = kd.sweep(run, turn | {"inflation": (inflation,), "seed": scoring}).values
    return {"inflation": inflation, "rotation": ROTATION}, {k: v[0, 0] for k, v in found.items()}


def _least(scores):
    """Return the first index of least mean over the second; a failed run is as bad as can be."""
    return int(np.argmin(np.where(np.isfinite(scores), scores, np.inf).mean(axis=1)))


@functools.cache
def unmeasured(name, n, cycles):
    """Return the energy score of each scoring seed's members when nothing is measured."""
    run = ExperimentRun(experiments.load(name), "enkf", n, num_cycles=cycles, blind=True)
    return kd.sweep(run, {"seed": seeds(name)[1]}).values["energy_score"]


def one(cell, known=None):
    """Run a cell, but for the lines that are known."""
    experiment, n = problem(cell)
    cycles = min(experiment.num_cycles, LONGER.get(experiment.name, CYCLES))
    tuning, scoring = seeds(experiment.name)
    posteriors = None
    if experiment.name == "lorenz63-z":
        posteriors = references(experiment, scoring, cycles, draws=2000)
    keep = "" if posteriors is None else "ensembles"
    systematic = dataclasses.replace(experiment, sir_resampling="systematic")
    sampling = dataclasses.replace(experiment, inflation=kd.SamplingInflation())

    def run(name, of=experiment):
        return ExperimentRun(of, name, n, num_cycles=cycles, keep=keep)

    def as_it_is(program):
        return {}, kd.sweep(program, {"seed": scoring}).values

    lines = {
        "kde-auto": lambda: as_it_is(run("kde-auto")),
        "enkf, sampling inflation": lambda: as_it_is(run("enkf", sampling)),
        "enkf tuned": lambda: chosen(run("enkf"), "inflation", INFLATIONS, tuning, scoring),
        "sir tuned": lambda: chosen(run("sir", systematic), "jitter", JITTERS, tuning, scoring),
    }
    if experiment.localisation is not None:
        lines["letkf tuned"] = lambda: chosen(run("etkf"), "inflation", INFLATIONS, tuning, scoring)
        lines["letkf rotated tuned"] = lambda: rotated(run("etkf"), tuning, scoring)
    free = unmeasured(experiment.name, n, cycles)
    commit = provenance({}, seed=0)["commit"][:10]
    filters = {}
    for label, line in lines.items():
        if known and label in known and len(known[label]["scores"]["rmse"]) == len(scoring):
            filters[label] = known[label]
            continue
        settings, values = line()
        scores = {k: values[k] for k in SCORES}
        if posteriors is not None:
            part = slice(W2_EVERY - 1, None, W2_EVERY)
            draws = np.asarray(posteriors[1])
            scores["w2"] = np.array(
                [mean_w2(e[part], d[part]) for e, d in zip(values["ensembles"], draws, strict=True)]
            )
        lost = (values["failed"] > 0) | ~(values["energy_score"] < free)
        filters[label] = {
            "settings": settings,
            "commit": commit,
            "diverged": int(lost.sum()),
            "scores": {k: np.asarray(v, float).round(5).tolist() for k, v in scores.items()},
        }
    return {"cycles": cycles, "filters": filters}


def reference_scores(name):
    """Return the energy scores of the reference posterior itself on the scoring seeds.

    No filter is better in expectation. One that is, on ten seeds, was lucky.
    """
    experiment, (_, scoring) = experiments.load(name), seeds(name)
    found = references(experiment, scoring, draws=1000)
    scores = []
    for seed, draws in zip(scoring, found[1], strict=True):
        truth = experiment.twin(seed, 2, experiment.num_cycles, jnp.dtype(jnp.float32)).truth
        scores.append(round(float(kd.metrics.energy_score(draws, truth).mean()), 5))
    return {"commit": provenance({}, seed=0)["commit"][:10], "energy_score": scores}


def summary(cell, record):
    """Print one line: energy score and CRPS of the default over the better classical filter's."""
    filters = record["filters"]
    parts = []
    for score in ("energy_score", "crps", "rmse", "w2"):
        found = compare(filters, score)
        if found is not None:
            parts.append(
                f"{score} {found.default:.3f} / {found.rival:.3f} ({found.name}) "
                f"{found.difference:+.1f} se"
            )
    coverage = np.mean(filters["kde-auto"]["scores"]["coverage"])
    diverged = {label: f["diverged"] for label, f in filters.items()}
    print(f"{cell}: {'; '.join(parts)}; coverage {coverage:.2f}; {diverged}", flush=True)


def main(arguments):
    """Run the cells named, or all that are not in the record yet."""
    if "--list" in arguments:
        print("\n".join(CELLS))
        return
    path = RESULTS / "untuned.json"
    record = json.loads(path.read_text()) if path.exists() else {"cells": {}}
    again = "--default" in arguments
    cells = [a for a in arguments if a not in ("--default", "--reference")]
    if again and not cells:
        cells = list(record["cells"])
    settings = {"tuning": TUNING, "scoring": SCORING, "inflations": INFLATIONS, "jitters": JITTERS}
    settings |= {"more seeds": MORE, "their tuning": MORE_TUNING, "their scoring": MORE_SCORING}

    def keep():
        save("untuned", settings, {k: v for k, v in record.items() if k != "provenance"})

    if "--reference" in arguments:
        record["reference"] = {"lorenz63-z": reference_scores("lorenz63-z")}
        keep()
        return
    for cell in cells or [c for c in CELLS if c not in record["cells"]]:
        known = {}
        if again:
            filters = record["cells"][cell]["filters"]
            known = {label: line for label, line in filters.items() if label != "kde-auto"}
            for line in known.values():
                line.setdefault("commit", record["provenance"]["commit"][:10])
        record["cells"][cell] = one(cell, known)
        summary(cell, record["cells"][cell])
        keep()


if __name__ == "__main__":
    use_every_core()
    assert jnp.zeros(()).dtype == jnp.float32
    main(sys.argv[1:])
