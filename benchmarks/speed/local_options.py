"""What options of a localisation cost and gain: fewer points of analysis, no distances.

    python benchmarks/speed/local_options.py           writes results/local_options.json (15 min)
    python benchmarks/speed/local_options.py --quick   small parts of it, writes nothing

Points: one analysis of smooth Gaussian fields (20 members, noise of standard deviation 0.5, a
radius of 4 sites on a ring, 2 in a plane), by every coordinate, by blocks, by interpolated weights.
The deviation is the RMS difference of members from the analysis of every coordinate, over the RMS
change that this makes. CPU time of this process, medians of calls in turn.

Runs: Lorenz-96 in 40 dimensions, seeds 100 to 105, RMSE of the mean after a burn-in and its
standard error: no localisation (ETKF), true distances, correlations alone, and distances at fewer
points. Nothing is tuned.
"""

from __future__ import annotations

import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.records import save
from kdediff_jax import experiments

MEMBERS, STD, SMOOTH, REPEATS = 20, 0.5, 3, 5
ROTATION = 0.5
RUNS = (("sakov2008", 20, 500), ("spantini2019", 20, 200), ("dalearning-l96", 20, 200))
SEEDS = tuple(range(100, 106))
WIDTHS = (2.0, 4.0)
RULES = (kd.AnalysisBlocks, kd.AnalysisGrid)


def rules(widths):
    """Return the points of analysis that are compared."""
    return [None, *(rule(width) for rule in RULES for width in widths)]


def named(rule):
    """Return what a rule is called in the record."""
    return "everywhere" if rule is None else repr(rule)


def ring(d):
    """Return places, period and smooth fields on a ring."""
    noise = jax.random.normal(jax.random.key(0), (MEMBERS + 1, d))
    return np.arange(float(d)), float(d), 4.0, _smooth(noise, (1,))


def plane(side):
    """Return the same on a torus."""
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    noise = jax.random.normal(jax.random.key(0), (MEMBERS + 1, side, side))
    fields = _smooth(noise, (1, 2)).reshape(MEMBERS + 1, -1)
    return places.astype(float), (float(side), float(side)), 2.0, fields


def _smooth(noise, axes):
    for axis in axes:
        rolled = jnp.stack([jnp.roll(noise, k, axis=axis) for k in range(SMOOTH)])
        noise = jnp.sum(rolled, axis=0) / SMOOTH**0.5
    return noise


def one_analysis(label, problem, make, widths):
    """Return a row for each rule."""
    places, period, radius, fields = problem
    observation = kd.GaussianObservation(kd.Identity(), STD)
    y = observation.sample(jax.random.key(1), fields[-1], jnp.zeros(()))
    calls = {}
    for rule in rules(widths):
        scheme = make(kd.Localisation(places, places, radius, period, points=rule))
        calls[named(rule)] = jax.jit(
            lambda key, scheme=scheme: scheme(key, fields[:-1], y, observation)
        )
    key = jax.random.key(2)
    found = {name: jax.block_until_ready(call(key)) for name, call in calls.items()}
    seconds = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            begin = time.process_time()
            jax.block_until_ready(call(key))
            seconds[name].append(time.process_time() - begin)
    whole, _ = found["everywhere"]
    change = jnp.sqrt(jnp.mean((whole - fields[:-1]) ** 2))
    rows = []
    for name, (members, info) in found.items():
        rows.append(
            {
                "problem": label, "d": fields.shape[1], "filter": make.__name__, "points": name,
                "CPU seconds": statistics.median(seconds[name]),
                "deviation": float(jnp.sqrt(jnp.mean((members - whole) ** 2)) / change),
                "rmse": float(jnp.sqrt(jnp.mean((info.mean - fields[-1]) ** 2))),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def run_errors(name, members, cycles, seeds):
    """Return a row for every localisation of an experiment."""
    experiment = experiments.load(name)
    where = experiment.localisation
    options = {
        "none": None,
        "distance": where,
        "correlations": kd.CorrelationLocalisation(),
        "distance, blocks of 4": _with_points(where, kd.AnalysisBlocks(4.0)),
        "distance, grid of 4": _with_points(where, kd.AnalysisGrid(4.0)),
    }
    rows = []
    for label, localisation in options.items():
        scheme = (
            kd.ETKF(rotation_angle=ROTATION)
            if localisation is None
            else kd.LETKF(localisation, rotation_angle=ROTATION)
        )

        def error(seed, scheme=scheme):
            twin = experiment.twin(seed, members, cycles, jnp.dtype("float32"))
            run = kd.assimilate(
                jax.random.fold_in(jax.random.key(seed), 2), experiment.dynamics,
                experiment.observation, scheme, twin.ensemble, twin.ys,
            )  # fmt: skip
            burn_in = min(experiment.burn_in, cycles // 3)
            return jnp.mean(kd.metrics.rmse(run.mean, twin.truth)[burn_in:])

        errors = np.asarray(jax.jit(jax.vmap(error))(jnp.asarray(seeds)))
        rows.append(
            {
                "experiment": name, "members": members, "cycles": cycles, "localisation": label,
                "rmse": float(errors.mean()),
                "standard error": float(errors.std(ddof=1) / len(errors) ** 0.5),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def _with_points(where, rule):
    return kd.Localisation(where.state, where.measured, where.radius, where.period, points=rule)


def main(quick):
    """Measure, and keep it."""
    sizes = (400,) if quick else (400, 4000)
    side = 20 if quick else 64
    flat = (f"torus of {side} x {side}", plane(side))
    problems = [*((f"ring of {d}", ring(d)) for d in sizes), flat]
    points = [
        row for label, problem in problems for row in one_analysis(label, problem, kd.LETKF, WIDTHS)
    ]
    label, problem = problems[len(sizes) - 1]
    points += one_analysis(label, problem, kd.LEnKPF, WIDTHS[-1:])
    runs = [(name, n, 30) for name, n, _ in RUNS] if quick else RUNS
    errors = [row for run in runs for row in run_errors(*run, SEEDS[:2] if quick else SEEDS)]
    settings = {"members": MEMBERS, "std": STD, "smooth": SMOOTH, "rotation": ROTATION}
    save("local_options", settings, {"points": points, "runs": errors}, seed=100, partial=quick)


if __name__ == "__main__":
    main("--quick" in sys.argv)
