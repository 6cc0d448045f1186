"""Our EnKF and SIR against cuthbert's EnKF and particle filter on the same Lorenz-96 problems.

python benchmarks/cuthbert_filters.py    writes results/cuthbert_filters.json; needs `cuthbert`

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
from common import interleaved_medians, save
from cuthbert import filter as run_theirs
from cuthbert.ensemble_kalman import ensemble_kalman_filter
from cuthbert.smc import particle_filter
from cuthbertlib.resampling import systematic

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.assimilation import save_ensembles

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


def case(name, members):
    """Compile, run, time and score the four filters."""
    experiment, _, ys, ensemble = problem(name, members, 0)
    key = jax.random.key(1)
    runs = {
        "EnKF, ours": ours(experiment, kd.EnKF()),
        "EnKF, cuthbert": theirs(experiment, members, "enkf"),
        "SIR, ours": ours(experiment, kd.SIR()),
        "particle filter, cuthbert": theirs(experiment, members, "smc"),
    }
    programs, compiling, scores = {}, {}, {}
    for label, run in runs.items():
        begin = time.perf_counter()
        programs[label] = jax.jit(run).lower(key, ensemble, ys).compile()
        compiling[label] = time.perf_counter() - begin
        found = []
        for seed in SEEDS:
            _, truth, y, members_0 = problem(name, members, seed)
            found.append(rmse(programs[label](jax.random.key(seed), members_0, y), truth))
        scores[label] = found
    medians = interleaved_medians(
        {label: lambda p=program: p(key, ensemble, ys) for label, program in programs.items()}
    )
    rows = {}
    for label in runs:
        deviation = float(np.std(scores[label], ddof=1) / np.sqrt(len(SEEDS)))
        rows[label] = {
            "milliseconds": round(1e3 * medians[label], 2),
            "compile seconds": round(compiling[label], 2),
            "rmse": round(float(np.mean(scores[label])), 3),
            "rmse standard error": round(deviation, 3),
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
