"""Which latents and component draws give the best posterior: the gain of low-variance draws.

    python benchmarks/accuracy/latents.py    writes results/latents.json (about 10 minutes)

`lorenz63-z` is scored by sliced W2 to the reference posterior, `lorenz96-10` by the energy score;
means over seeds that neither the tuning nor the scoring of other tables uses.
"""

from __future__ import annotations

import kdediff_jax as kd
from benchmarks.shared.comparison import standard_error
from benchmarks.shared.records import save
from kdediff_jax import experiments, latents
from kdediff_jax.experiments.sweeps import ExperimentRun, references
from kdediff_jax.sweeping import use_every_core

SEEDS = range(2000, 2024)
DRAWS = ("systematic", "stratified", "multinomial")
CASES = (
    ("lorenz63-z", 50, (0.5, 1.0), (5.0,)),
    ("lorenz63-z", 250, (0.5, 1.0), (5.0,)),
    ("lorenz96-10", 50, (0.7, 1.0), (1.0, 1.5)),
    ("lorenz96-10", 250, (0.5, 0.7), (1.0,)),
)


def compared(name, members, state, obs, posteriors):
    """Return the mean score of every kind of draw, over the bandwidths and the seeds."""
    experiment = experiments.load(name)
    score = "energy_score" if posteriors is None else "sliced_w2"
    samplers = {f"latents {kind}": kd.ProbabilityFlow(latents=kind) for kind in latents.KINDS}
    samplers |= {f"mixture {draws}": kd.ExactMixture(draws=draws) for draws in DRAWS}
    grid = {"state_bandwidth": state, "obs_bandwidth": obs, "seed": SEEDS}
    table = {}
    for label, sampler in samplers.items():
        name_of_filter = "kde" if label.startswith("latents") else "kde-mixture"
        run = ExperimentRun(
            experiment, name_of_filter, members, sampler=sampler, posteriors=posteriors
        )
        values = kd.sweep(run, grid).values[score]
        per_seed = values.mean(axis=(0, 1))
        table[label] = {
            "mean": float(per_seed.mean()),
            "standard error": float(standard_error(per_seed)),
        }
        print(name, members, label, table[label], flush=True)
    return {"experiment": name, "N": members, "score": score, "bandwidths": [state, obs], **table}


def main():
    use_every_core()
    posteriors = {name: references(experiments.load(name), SEEDS) for name in {c[0] for c in CASES}}
    cases = [compared(*case, posteriors[case[0]]) for case in CASES]
    save("latents", {"seeds": list(SEEDS)}, {"cases": cases})


if __name__ == "__main__":
    main()
