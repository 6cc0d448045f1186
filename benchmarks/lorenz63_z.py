"""`lorenz63-z` at N = 250: bandwidths chosen on tuning seeds, W2 scored on others.

    python benchmarks/lorenz63_z.py             writes results/lorenz63_z.json (about 25 minutes)

Selection: the (state, measurement) bandwidth of the grid below with the least W2, averaged over the
tuning seeds and every fifth cycle. Scores: mean over the scoring seeds and all cycles of
exact W2 to 1000 of the 100,000 particles of the reference. EnKF and SIR run on the same
measurements, as in the paper (no inflation, no jitter) and with the best of a list chosen on the
same tuning seeds.
"""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from common import save

import kdediff_jax as kd
from kdediff_jax import experiments, latents, metrics
from kdediff_jax.experiments.run import reference

N, TUNING, SCORING = 250, range(1000, 1008), range(10)
STATE, OBS = (0.2, 0.5, 1.0, 2.0), (2.0, 5.0, 10.0, 20.0)
INFLATIONS, JITTERS = (1.02, 1.1, 1.3), (0.3, 0.7, 1.2)
EXPERIMENT = experiments.load("lorenz63-z")


def problem(seed):
    """Return the twin and its reference posterior."""
    twin = EXPERIMENT.twin(seed, N, EXPERIMENT.num_cycles, jnp.dtype(jnp.float32))
    return twin, reference(EXPERIMENT, twin, seed)


@eqx.filter_jit
def ensembles(analysis, twin, key):
    """Run a filter; analysis ensembles [T N d] and success."""
    result = kd.assimilate(
        key,
        EXPERIMENT.dynamics,
        EXPERIMENT.observation,
        analysis,
        twin.ensemble,
        twin.ys,
        save=kd.save_ensembles,
    )
    return result.saved, result.info


def w2_of(analysis, problems, every=1):
    """Return W2 per seed, and the diverged runs (a failed cycle)."""
    values, failed, energy = [], 0, []
    for seed, (twin, posterior) in problems.items():
        saved, info = ensembles(analysis, twin, jax.random.fold_in(jax.random.key(seed), 2))
        failed += int(not np.asarray(info.ok).all())
        cycles = range(every - 1, len(saved), every)
        members = np.asarray(saved)
        values.append(
            np.mean([metrics.wasserstein2(members[t], posterior[t, :1000]) for t in cycles])
        )
        energy.append(float(jnp.mean(metrics.energy_score(saved, twin.truth))))
    return np.array(values), failed, np.array(energy)


def floor(problems):
    """Return W2 of N reference particles to 1000 others: what no filter can beat."""
    return np.array(
        [
            np.mean([metrics.wasserstein2(p[1000 : 1000 + N], p[:1000]) for p in posterior[4::5]])
            for _, posterior in problems.values()
        ]
    )


def summary(values, failed=0, energy=None):
    out = {
        "w2": float(values.mean()),
        "standard error": float(values.std(ddof=1) / np.sqrt(len(values))),
        "median": float(np.median(values)),
        "diverged": failed,
    }
    return out if energy is None else {**out, "energy score": float(energy.mean())}


def method(h_x, h_y, sampler=None):
    sampler = sampler or kd.ProbabilityFlow()
    return kd.KDEDiffusion(state_bandwidth=h_x, obs_bandwidth=h_y, sampler=sampler)


def main():
    tuning = {seed: problem(seed) for seed in TUNING}
    grid = {
        (h_x, h_y): float(w2_of(method(h_x, h_y), tuning, every=5)[0].mean())
        for h_x, h_y in itertools.product(STATE, OBS)
    }
    best = min(grid, key=grid.__getitem__)
    print("grid", grid, "best", best, flush=True)

    def choose(kind, options):
        scores = {o: float(w2_of(kind(o), tuning, every=5)[0].mean()) for o in options}
        return min(scores, key=scores.__getitem__), scores

    inflation, inflations = choose(lambda i: kd.EnKF(inflation=i), INFLATIONS)
    jitter, jitters = choose(lambda j: kd.SIR(jitter=j), JITTERS)
    kinds = {}
    for kind in latents.KINDS:
        sampler = kd.ProbabilityFlow(latents=kind)
        kinds[kind] = float(w2_of(method(*best, sampler), tuning, every=5)[0].mean())
    draws = {}
    for scheme in ("systematic", "stratified", "multinomial"):
        sampler = kd.ExactMixture(draws=scheme)
        draws[scheme] = float(w2_of(method(*best, sampler), tuning, every=5)[0].mean())
    print("latents", kinds, "draws", draws, flush=True)

    scoring = {seed: problem(seed) for seed in SCORING}
    prior = kd.ProbabilityFlow(
        schedule=kd.VarianceExploding(tau_max=30.0), start="prior", latents="independent"
    )
    filters = {
        "kde": method(*best),
        "kde, the paper's sampler": method(*best, prior),
        "kde-mixture": method(*best, kd.ExactMixture()),
        "enkf": kd.EnKF(),
        "enkf tuned": kd.EnKF(inflation=inflation),
        "sir": kd.SIR(resampling="multinomial"),
        "sir tuned": kd.SIR(jitter=jitter),
    }
    scores = {}
    for name, analysis in filters.items():
        scores[name] = summary(*w2_of(analysis, scoring))
        print(name, scores[name], flush=True)
    scores["sampling floor"] = summary(floor(scoring))
    body = {
        "selected": {"state, obs bandwidth": best, "inflation": inflation, "jitter": jitter},
        "tuning w2": {
            "grid": {f"{h_x:g}, {h_y:g}": w2 for (h_x, h_y), w2 in grid.items()},
            "inflation": inflations,
            "jitter": jitters,
        },
        "tuning w2 by latents": kinds,
        "tuning w2 by component draws": draws,
        "scores": scores,
        "paper": {"kde": 6.55, "enkf": 12.02, "sir": 16.88},
    }
    settings = {"members": N, "tuning seeds": list(TUNING), "scoring seeds": list(SCORING)}
    save("lorenz63_z", settings, body)


if __name__ == "__main__":
    main()
