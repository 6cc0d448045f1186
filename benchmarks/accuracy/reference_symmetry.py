"""How good the reference posterior of lorenz63-z is, and what a perfect filter would score.

python benchmarks/accuracy/reference_symmetry.py    writes results/reference_symmetry.json
(ten minutes)

The model, the measurement z and the prior N(0, I) do not change under (x, y, z) -> (-x, -y, z), so
that the exact posterior has x > 0 with probability 1/2 in every cycle. The reference of the paper's
protocol, a particle filter with 100,000 particles, has not: its masses of the two modes drift. Two
things follow. The distance of perfect draws from it is a floor of W2 that no filter can be expected
to pass; and a better reference is at hand, half of its particles and their mirror images, whose
modes have the exact masses.

Scoring seeds and the rivals' tuned settings are those of `untuned.py`; every fifth cycle.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from benchmarks.accuracy.untuned import SCORING, W2_EVERY
from benchmarks.shared.comparison import QUARTERS, standard_error
from benchmarks.shared.records import read, save
from kdediff_jax import experiments
from kdediff_jax.experiments.run import REFERENCE_KEPT
from kdediff_jax.experiments.scores import compared_draws, mean_w2
from kdediff_jax.experiments.sweeps import ExperimentRun, references
from kdediff_jax.sweeping import sweep, use_every_core

NAME = "lorenz63-z"
MEMBERS = (20, 50, 100, 250, 1000)
MIRROR = np.array([-1, -1, 1], np.float32)
LINES = {"enkpf": "enkpf", "enkf tuned": "enkf", "sir tuned": "sir"}
PART = slice(W2_EVERY - 1, None, W2_EVERY)


def mirrored(draws):
    """Return draws [... n d] and their mirror images: twice as many, of the exact masses."""
    return np.concatenate([draws, MIRROR * draws], axis=-2)


def statistics(values):
    """Return mean and standard error over the simulations that did not fail, and the others."""
    values = np.asarray(values)
    sound = values[np.isfinite(values)]
    return {
        "mean": float(sound.mean()),
        "standard error": float(standard_error(sound)),
        "failed": len(values) - len(sound),
    }


def distances(ensembles, draws, members):
    """Return the mean W2 of every run to the protocol's reference and to the mirrored one."""
    compared = compared_draws(members)
    symmetric = mirrored(draws[:, :, : compared // 2])
    return {
        name: statistics([mean_w2(e[PART], r[PART]) for e, r in zip(ensembles, to, strict=True)])
        for name, to in (("protocol", draws), ("symmetric", symmetric))
    }


def perfect(draws, members, rng):
    """Return draws of the exact posterior that are not among those compared with."""
    fresh = draws[:, :, compared_draws(members) :]
    seeds, cycles, available, _ = fresh.shape
    place = rng.permuted(np.broadcast_to(np.arange(available), (seeds, cycles, available)), axis=-1)
    taken = np.take_along_axis(fresh, place[..., :members, None], axis=2)
    side = rng.integers(0, 2, (seeds, cycles, members, 1)).astype(bool)
    return np.where(side, MIRROR * taken, taken)


def filters(members, draws, cell):
    """Return the distances of the untuned filter and its tuned rivals."""
    experiment = dataclasses.replace(experiments.load(NAME), sir_resampling="systematic")
    rows = {}
    for label, name in LINES.items():
        run = ExperimentRun(experiment, name, members, keep="ensembles")
        settings = {axis: (value,) for axis, value in cell[label]["settings"].items()}
        found = sweep(run, settings | {"seed": SCORING}).values
        ensembles = np.asarray(found["ensembles"]).reshape(len(SCORING), -1, members, 3)
        rows[label] = distances(ensembles, draws, members)
    return rows


def main():
    """Measure the reference, perfect draws and the filters; keep all of it."""
    draws = np.asarray(references(experiments.load(NAME), SCORING, draws=REFERENCE_KEPT).draws)
    mass = np.abs((draws[..., 0] > 0).mean(axis=-1) - 0.5)  # [seed cycle]
    quarters = [statistics(part.mean(axis=1)) for part in np.split(mass, 4, axis=1)]
    body = {QUARTERS: quarters, "members": {}}
    print(quarters, flush=True)
    cells = read("untuned")["cells"]
    rng = np.random.default_rng(0)
    for members in MEMBERS:
        rows = {"perfect draws": distances(perfect(draws, members, rng), draws, members)}
        rows |= filters(members, draws, cells[f"{NAME}:{members}"]["filters"])
        body["members"][str(members)] = rows
        print(members, rows, flush=True)
    save("reference_symmetry", {"seeds": SCORING, "every": W2_EVERY}, body)


if __name__ == "__main__":
    use_every_core()
    main()
