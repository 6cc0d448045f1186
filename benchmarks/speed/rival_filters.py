"""Our EnKF, SIR and LETKF against cuthbert's and DAPPER's on the same Lorenz-96 problems.

python benchmarks/speed/rival_filters.py    writes results/rival_filters.json
(about 6 minutes; needs the packages cuthbert and dapper; --quick for a first look, which is not
kept)

All filters are given the same model (our Lorenz-96), the same measurements, the same initial
members and the same number of cycles, and run on one core. Each run of ours and of cuthbert is one
compiled program in float32; compiling is timed apart. Runs are timed in turn, medians.

`classical` are experiments of the package without inflation: perturbed-observation EnKF, and
bootstrap filters that resample systematically in every cycle without jitter. RMSE after half of
the cycles, over 8 seeds, shows that both libraries' filters are the same up to their random
numbers.

`rings` are the setting of Sakov and Oke (2008), which DAPPER and others publish for N = 40: forcing
8, interval 0.05, every component measured with unit error, no model noise; on 40 sites, and on
4000, where an EnKF without localisation is lost in either library. cuthbert's EnKF gets the option
that it has for fewer members than measurements. DAPPER's LETKF analyses every coordinate by itself,
as ours does, and, as its own setting of this model has it, two at a time. Reach and taper are the
same (DAPPER leaves out weights below 0.001): what one analysis then differs by is measured too.
DAPPER's analysis is NumPy in float64; its model is ours, compiled, and timed apart.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.comparison import standard_error
from benchmarks.shared.records import save
from benchmarks.shared.rivals import DapperLETKF, cuthbert_enkf, cuthbert_particles
from benchmarks.shared.timing import interleaved
from kdediff_jax import experiments
from kdediff_jax.experiments.settings import rings
from kdediff_jax.observations import Identity
from kdediff_jax.runs import save_ensembles

QUICK = "--quick" in sys.argv
CLASSICAL = (
    ("lorenz96-10", 100),
    ("lorenz96-10", 1000),
    ("lorenz96-40", 100),
    ("lorenz96-40", 1000),
)
CYCLES, SEEDS = 100, tuple(range(8))
# sites -> cycles, repeats of a timed run, seeds of a score
RINGS = {40: (100, 15, 8), 4000: (20, 3, 1)}
MEMBERS, RADIUS = 40, 4.0
INFLATION = {"EnKF": 1.06, "LETKF": 1.02}  # of both libraries


class Problem(NamedTuple):
    """A model, what it is measured by, and a truth; members around it."""

    dynamics: Any
    observation: Any
    truth: Any
    ys: Any
    ensemble: Any


def published(name, members, seed):
    """Return the problem of an experiment."""
    experiment = experiments.load(name)
    twin = experiment.twin(seed, members, CYCLES, jnp.dtype(jnp.float32))
    return Problem(experiment.dynamics, experiment.observation, *twin)


def ring(d, seed):
    """Return the problem on a ring."""
    model = kd.Lorenz96()
    observation = kd.GaussianObservation(Identity(), 1.0)
    state_key, run_key = jax.random.split(jax.random.key(seed))
    x0, ensemble = rings.lorenz96(d, 1.0)(state_key, MEMBERS)
    truth, ys = kd.twin_experiment(run_key, model, observation, x0, RINGS[d][0])
    return Problem(model, observation, truth, ys, ensemble)


def ours(problem, analysis, kept=save_ensembles):
    """Return (key, initial members, measurements) -> what is kept of every cycle."""

    def run(key, ensemble, ys):
        modules = problem.dynamics, problem.observation, analysis
        return kd.assimilate(key, *modules, ensemble, ys, save=kept).saved

    return run


def mean_alone(output):
    """Keep the mean of the analysis."""
    return output.info.mean


def rmse(result, truth):
    """Return the root mean square error of the (weighted) mean, averaged over time."""
    if isinstance(result, tuple):
        weights = np.asarray(jax.nn.softmax(result[1], axis=1))
        mean = np.einsum("tn,tnd->td", weights, np.asarray(result[0]))
    else:
        mean = np.asarray(result)
        mean = mean.mean(axis=1) if mean.ndim == 3 else mean
    half = slice(len(truth) // 2, None)
    return float(np.sqrt(np.mean((mean[half] - np.asarray(truth)[half]) ** 2, axis=1)).mean())


def compiled(run, *args):
    """Return a program and the seconds that compiling it took."""
    begin = time.perf_counter()
    program = jax.jit(run).lower(*args).compile()
    return program, time.perf_counter() - begin


def measured(runs, problems, repeats):
    """Time runs of the first problem in turn, score them on all, and return a row of each."""
    first = problems[0]
    args = jax.random.key(1), first.ensemble, first.ys
    programs = {
        label: (run, None) if isinstance(run, DapperLETKF) else compiled(run, *args)
        for label, run in runs.items()
    }
    times = interleaved(
        {label: lambda run=run: run(*args) for label, (run, _) in programs.items()},
        repeats=2 if QUICK else repeats,
    )
    rows, cycles = {}, len(first.ys)
    for label, (run, seconds) in programs.items():
        found = np.array(
            [
                rmse(run(jax.random.key(seed), each.ensemble, each.ys), each.truth)
                for seed, each in enumerate(problems)
            ]
        )
        rows[label] = {
            "milliseconds a cycle": round(1e3 * times[label].wall / cycles, 4),
            "CPU milliseconds a cycle": round(1e3 * times[label].cpu / cycles, 4),
            "compile seconds": None if seconds is None else round(seconds, 2),
            "rmse": round(float(found.mean()), 3),
            "rmse standard error": round(float(standard_error(found)), 3)
            if len(found) > 1
            else None,
        }
        print(label, rows[label], flush=True)
    return rows


def classical(name, members):
    """Compare EnKF and SIR with cuthbert's."""
    print(name, members)
    problems = [published(name, members, seed) for seed in (SEEDS[:2] if QUICK else SEEDS)]
    given = problems[0].dynamics, problems[0].observation, members
    runs = {
        "EnKF, ours": ours(problems[0], kd.EnKF()),
        "EnKF, cuthbert": cuthbert_enkf(*given),
        "SIR, ours": ours(problems[0], kd.SIR()),
        "SIR, cuthbert": cuthbert_particles(*given),
    }
    return measured(runs, problems, 15)


def on_ring(d):
    """Compare EnKF and LETKF with cuthbert's and DAPPER's."""
    print("ring of", d)
    cycles, repeats, seeds = RINGS[d]
    problems = [ring(d, seed) for seed in range(min(seeds, 2) if QUICK else seeds)]
    model, observation = problems[0].dynamics, problems[0].observation
    factors = INFLATION["EnKF"], INFLATION["LETKF"]
    begin = time.perf_counter()
    letkf = kd.LETKF(rings.localisation(d, 1, RADIUS), inflation=factors[1])
    lists = time.perf_counter() - begin
    single, pairs = (DapperLETKF(model, d, RADIUS, factors[1], block) for block in (1, 2))
    kalman = {
        "EnKF, ours": ours(problems[0], kd.EnKF(inflation=factors[0])),
        "EnKF, cuthbert": cuthbert_enkf(model, observation, MEMBERS, factors[0]),
    }
    local = {
        "LETKF, ours": ours(problems[0], letkf, mean_alone),
        "LETKF, DAPPER": single,
        "LETKF, DAPPER, two at a time": pairs,
    }
    rows = measured(kalman, problems, 15) | measured(local, problems, repeats)
    start = problems[0].ensemble
    alone = interleaved({"model": lambda: single.model_alone(start, cycles)}, repeats=5)["model"]
    body = {
        "filters": rows,
        "model of DAPPER's runs, milliseconds a cycle": round(1e3 * alone.wall / cycles, 4),
        "lists, seconds": round(lists, 2),
        "measurements in reach": {
            "ours": int(jnp.sum(letkf.localisation.taper(d, d, start.dtype)[0] > 0)),
            "DAPPER": len(single.taper(single.batches[0])[0]),
        },
        "difference of one analysis": difference(letkf, single, problems[0]),
    }
    print(body)
    return body


def difference(letkf, theirs, problem):
    """Return how far our analysis is from DAPPER's, as a share of what it changes."""
    forecast = theirs.forecast(np.asarray(problem.ensemble, float))
    members = jnp.asarray(forecast, jnp.float32)
    found, _ = letkf(jax.random.key(0), members, problem.ys[0], problem.observation)
    wanted = theirs.analysis(forecast.copy(), np.asarray(problem.ys[0], float))
    error, change = np.asarray(found) - wanted, wanted - forecast
    return float(np.sqrt(np.mean(error**2) / np.mean(change**2)))


def main():
    """Measure, print and keep."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before JAX has its threads
    flags = Path("/proc/cpuinfo").read_text()
    body = {
        "instructions": "AVX-512" if "avx512f" in flags else "AVX2",
        "classical": {
            f"{name}:{n}": classical(name, n) for name, n in CLASSICAL[: 1 if QUICK else 4]
        },
        "rings": {str(d): on_ring(d) for d in RINGS},
    }
    settings = {
        "cycles": CYCLES,
        "seeds": SEEDS,
        "rings": RINGS,
        "members": MEMBERS,
        "radius": RADIUS,
        "inflation": INFLATION,
        **{name: importlib.metadata.version(name) for name in ("cuthbert", "dapper")},
    }
    save("rival_filters", settings, body, partial=QUICK)


if __name__ == "__main__":
    main()
