"""Steps, evaluations and accuracy of the reverse flow against solver, tolerance, d and N.

    python benchmarks/speed/solvers.py    writes results/solvers.json (a few minutes)

For each mixture (cycle 50 of an experiment) and the same latents, the end of the flow is compared
with that at tolerance 1e-9 in float64. The root mean square of the members' distances bounds the W2
between the two ensembles; it is set against the sampling floor, the W2 between N exact draws and
1000 others. The rule for the default: of the solvers and tolerances whose error is below a tenth of
the floor on every mixture, the one of fewest evaluations over all.
"""

from __future__ import annotations

import dataclasses

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.records import save
from benchmarks.shared.runs import mixture
from kdediff_jax import latents

CASES = (
    *((name, n) for name in ("lorenz63-z", "lorenz96-10", "lorenz96-20") for n in (50, 250, 1000)),
    *(("toy-bimodal", 250), ("linear-gaussian", 250), ("lorenz63-full", 250)),
    *(("lorenz63-fast", 250), ("sakov2012", 100), ("ramgraber2022", 100), ("bocquet2010", 100)),
    ("lorenz96-40", 250),
)
TOLERANCES = (1e-1, 3e-2, 2e-2, 1e-2, 1e-3, 1e-5)
LARGEST = 0.1
# evaluations per step: the last stage of a step is the first of the next; one more at the start
SOLVERS = {
    "ExponentialMultistep": (kd.ExponentialMultistep, 1),
    "Heun": (diffrax.Heun, 2),
    "Bosh3": (diffrax.Bosh3, 3),
    "Tsit5": (diffrax.Tsit5, 6),
    "Dopri5": (diffrax.Dopri5, 6),
    "Dopri8": (diffrax.Dopri8, 13),
}


def flow(solver, tolerance):
    """Return the flow; the tolerance is an array, so that another one needs no new program."""
    controller = kd.per_member_pid(jnp.asarray(tolerance))
    return kd.ProbabilityFlow(solver=solver(), stepsize_controller=controller, max_steps=4096)


run = eqx.filter_jit(lambda sampler, *args: sampler.sample(*args))


def rows(name, members):
    centres, log_weights, bandwidth = mixture(name, members)
    n, d = centres.shape
    z = latents.draw(jax.random.key(5), n, d, centres.dtype, "low-variance")
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a), jnp.float64) for a in (z, centres, log_weights)]
        exact = np.asarray(run(flow(diffrax.Dopri8, 1e-9), *wide, bandwidth)[0])
    draws = kd.ExactMixture(draws="multinomial")
    h = jnp.asarray(bandwidth)
    clouds = [
        draws(jax.random.key(k), size, centres, log_weights, h)[0]
        for k, size in ((0, n), (1, 1000), (2, n), (3, 1000))
    ]
    floor = np.mean([kd.metrics.wasserstein2(*clouds[:2]), kd.metrics.wasserstein2(*clouds[2:])])
    table = []
    for solver_name, (solver, stages) in SOLVERS.items():
        for tolerance in TOLERANCES:
            samples, stats = run(flow(solver, tolerance), z, centres, log_weights, h)
            distance = np.linalg.norm(np.asarray(samples) - exact, axis=1)
            steps, rejected = int(stats.num_steps), int(stats.num_rejected)
            table.append(
                {
                    "solver": solver_name,
                    "tolerance": tolerance,
                    "steps": steps,
                    "rejected": rejected,
                    "evaluations": 1 + (steps + rejected) * stages,
                    "median error / bandwidth": float(np.median(distance) / bandwidth),
                    "rms error / sampling floor": float(np.sqrt(np.mean(distance**2)) / floor),
                }
            )
    return {"d": d, "N": n, "bandwidth": bandwidth, "sampling floor": float(floor), "rows": table}


def summary(mixtures):
    """Return evaluations and the largest error of every solver and tolerance over all mixtures."""
    table = []
    for rows in zip(*(m["rows"] for m in mixtures), strict=True):
        table.append(
            {
                "solver": rows[0]["solver"],
                "tolerance": rows[0]["tolerance"],
                "mean evaluations": float(np.mean([r["evaluations"] for r in rows])),
                "largest error": max(r["rms error / sampling floor"] for r in rows),
            }
        )
    return table


def main():
    default = kd.ProbabilityFlow()
    mixtures = []
    for name, n in CASES:
        mixtures.append({"experiment": name, **rows(name, n)})
        print(name, n, flush=True)
    table = summary(mixtures)
    for row in table:
        print(row)
    sound = [row for row in table if row["largest error"] < LARGEST]
    body = {
        "default": {
            "solver": type(default.solver).__name__,
            "tolerance": float(default.stepsize_controller.rtol),
        },
        "by the rule": min(sound, key=lambda row: row["mean evaluations"]),
        "over all mixtures": table,
        "mixtures": mixtures,
    }
    fields = {name: repr(value) for name, value in dataclasses.asdict(default).items()}
    save("solvers", {"tolerances": TOLERANCES, "fields": fields}, body)


if __name__ == "__main__":
    main()
