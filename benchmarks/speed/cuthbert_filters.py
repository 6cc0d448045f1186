"""Our EnKF and SIR against cuthbert's EnKF and particle filter on the same Lorenz-96 problems.

python benchmarks/speed/cuthbert_filters.py    writes results/cuthbert_filters.json
(a minute or two; needs the package cuthbert)

Both libraries are given the same model (our Lorenz-96 with its noise), the same measurements, the
same law of the initial members and the same number of cycles, float32, and return the members of
every cycle: perturbed-observation EnKF without inflation, and a bootstrap filter that resamples
systematically in every cycle without jitter. Each run is one compiled program; compiling is timed
apart; runs are timed in turn, medians of 15. RMSE after half of the cycles, over 8 seeds, shows
that both libraries' filters are the same up to their random numbers.
"""

from __future__ import annotations

import importlib.metadata
import time

import jax
import jax.numpy as jnp
import numpy as np
from cuthbert import filter as run_theirs
from cuthbert.ensemble_kalman import ensemble_kalman_filter
from cuthbert.smc import particle_filter
from cuthbertlib.resampling import systematic

import kdediff_jax as kd
from benchmarks.shared.comparison import standard_error
from benchmarks.shared.records import save
from benchmarks.shared.timing import interleaved_medians
from kdediff_jax import experiments
from kdediff_jax.runs import save_ensembles

CASES = (("lorenz96-10", 100), ("lorenz96-10", 1000), ("lorenz96-40", 100), ("lorenz96-40", 1000))
CYCLES = 100
SEEDS = tuple(range(8))


def problem(name, members, seed):
    """Return (experiment, truth, measurements, initial members)."""
    experiment = experiments.load(name)
    twin = experiment.twin(seed, members, CYCLES, jnp.dtype(jnp.float32))
    return experiment, np.asarray(twin.truth), twin.ys, twin.ensemble


def ours(experiment, analysis):
    """Return (key, initial members, measurements) -> members of every cycle."""

    def run(key, ensemble, ys):
        modules = experiment.dynamics, experiment.observation, analysis
        return kd.assimilate(key, *modules, ensemble, ys, save=save_ensembles).saved

    return run


def theirs(experiment, members, kind):
    """Return the same function of cuthbert's filter."""
    dynamics, observation = experiment.dynamics, experiment.observation
    start = jnp.zeros(())  # autonomous: any model time

    def step(key, x):
        return dynamics.step(key, x, start)

    def measure(x):
        return observation.operator(x)

    def run(key, ensemble, ys):
        std = jnp.broadcast_to(jnp.asarray(observation.std, ys.dtype), ys.shape[1:])
        first = {"init_sample": lambda key: ensemble[0]}
        if kind == "enkf":
            found = ensemble_kalman_filter.build_filter(
                get_dynamics=lambda y: lambda x, key: step(key, x),
                get_observations=lambda y: (measure, jnp.diag(std), y),
                n_particles=members,
                **first,
            )
            field = "ensemble"
        else:
            found = particle_filter.build_filter(
                propagate_sample=lambda key, x, y: step(key, x),
                log_potential=lambda before, x, y: observation.log_likelihood(y, x, start),
                n_filter_particles=members,
                resampling_fn=systematic.resampling,
                **first,
            )
            field = "particles"
        state = found.init_prepare(key=key)._replace(**{field: ensemble})
        states = run_theirs(found, ys, state, key=key)
        # their particles are weighted, resampled at the start of the next cycle; ours at the end
        return getattr(states, field)[1:], getattr(states, "log_weights", None)

    return run


def rmse(result, truth):
    """Return the root mean square over time of the error of the (weighted) mean."""
    members, log_weights = result if isinstance(result, tuple) else (result, None)
    if log_weights is None:
        mean = np.asarray(members).mean(axis=1)
    else:
        weights = np.asarray(jax.nn.softmax(log_weights[1:], axis=1))
        mean = np.einsum("tn,tnd->td", weights, np.asarray(members))
    part = slice(CYCLES // 2, None)
    return float(np.sqrt(np.mean((mean[part] - truth[part]) ** 2, axis=1)).mean())


def compiled(run, *args):
    """Return a program and the seconds that compiling it took."""
    begin = time.perf_counter()
    program = jax.jit(run).lower(*args).compile()
    return program, time.perf_counter() - begin


def scores(program, name, members):
    """Return the RMSE of every seed."""
    found = []
    for seed in SEEDS:
        _, truth, ys, ensemble = problem(name, members, seed)
        found.append(rmse(program(jax.random.key(seed), ensemble, ys), truth))
    return np.array(found)


def case(name, members):
    """Compile, run, time and score the four filters."""
    experiment, _, ys, ensemble = problem(name, members, 0)
    args = jax.random.key(1), ensemble, ys
    runs = {
        "EnKF, ours": ours(experiment, kd.EnKF()),
        "EnKF, cuthbert": theirs(experiment, members, "enkf"),
        "SIR, ours": ours(experiment, kd.SIR()),
        "particle filter, cuthbert": theirs(experiment, members, "smc"),
    }
    programs = {label: compiled(run, *args) for label, run in runs.items()}
    medians = interleaved_medians(
        {label: lambda p=program: p(*args) for label, (program, _) in programs.items()}
    )
    rows = {}
    for label, (program, seconds) in programs.items():
        found = scores(program, name, members)
        rows[label] = {
            "milliseconds": round(1e3 * medians[label], 2),
            "compile seconds": round(seconds, 2),
            "rmse": round(float(found.mean()), 3),
            "rmse standard error": round(float(standard_error(found)), 3),
        }
        print(name, members, label, rows[label], flush=True)
    ratios = {
        "EnKF": medians["EnKF, cuthbert"] / medians["EnKF, ours"],
        "SIR": medians["particle filter, cuthbert"] / medians["SIR, ours"],
    }
    return {"filters": rows, "cuthbert / ours": {k: round(v, 2) for k, v in ratios.items()}}


if __name__ == "__main__":
    body = {f"{name}:{n}": case(name, n) for name, n in CASES}
    settings = {
        "cycles": CYCLES,
        "seeds": SEEDS,
        "cuthbert": importlib.metadata.version("cuthbert"),
    }
    save("cuthbert_filters", settings, {"cases": body})
