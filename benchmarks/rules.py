"""Cost of one analysis: fixed bandwidths, rules that choose them, the default filter, classical.

python benchmarks/rules.py    writes benchmarks/results/rules.json

Each scheme runs on the forecast of cycle 50 of an experiment, compiled, float32, calls interleaved,
medians of 15. `passes` counts evaluations of the pairwise core (N^2 kernel values each).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from common import interleaved_medians, save
from problems import CYCLES, forecast_and_measurement

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.experiments.run import run_filter

CASES = (("lorenz63-z", 250), ("lorenz63-z", 1000), ("lorenz96-10", 250), ("lorenz96-10", 1000))


def schemes(experiment, n):
    """Return (scheme, passes of the core that do not depend on the solver) by name."""
    h_x, h_y = experiment.bandwidths_for(n)
    mixture = kd.ExactMixture()
    flow = kd.ProbabilityFlow()
    local = 2 if experiment.name.startswith("lorenz63") else 0
    return {
        "fixed bandwidths, flow": (kd.KDEDiffusion(state_bandwidth=h_x, obs_bandwidth=h_y), 0),
        "fixed bandwidths, mixture draws": (
            kd.KDEDiffusion(state_bandwidth=h_x, obs_bandwidth=h_y, sampler=mixture), 0),
        "Silverman, flow": (
            kd.KDEDiffusion(state_bandwidth=kd.Silverman(), obs_bandwidth=h_y), 0),
        "LeaveOneOut, flow": (
            kd.KDEDiffusion(state_bandwidth=kd.LeaveOneOut(), obs_bandwidth=h_y), 10),
        "TargetESS, flow": (
            kd.KDEDiffusion(state_bandwidth=h_x, obs_bandwidth=kd.TargetESS()), 0),
        "default (covariance kernel, mixture draws)": (kd.KDEDiffusion(), local),
        "covariance kernel, flow": (kd.KDEDiffusion(kernel="covariance", sampler=flow), local),
        "EnKF": (kd.EnKF(), 0),
        "ETKF": (kd.ETKF(), 0),
        "SIR": (kd.SIR(jitter=0.5), 0),
    }  # fmt: skip


@eqx.filter_jit
def analyse(scheme, key, forecast, y, observation):
    """Return one analysis."""
    return scheme(key, forecast, y, observation)


def case(name, n):
    """Time every scheme on one forecast."""
    experiment = experiments.load(name)
    twin = experiment.twin(0, n, CYCLES, jnp.dtype(jnp.float32))
    run = run_filter(experiment, kd.KDEDiffusion(), twin, 0, save=forecast_and_measurement)
    forecast, y = (jnp.asarray(value[-1]) for value in run.result.saved)
    key, found = jax.random.key(1), schemes(experiment, n)

    def call(scheme):
        return lambda: analyse(scheme, key, forecast, y, experiment.observation)

    medians = interleaved_medians({label: call(scheme) for label, (scheme, _) in found.items()})
    fixed = medians["fixed bandwidths, flow"]
    rows = {}
    for label, (scheme, passes) in found.items():
        info = call(scheme)()[1]
        rows[label] = {
            "milliseconds": round(1e3 * medians[label], 3),
            "of fixed, flow": round(medians[label] / fixed, 2),
            "rule passes": passes,
            "solver steps": int(info.num_steps) + int(info.num_rejected),
        }
        print(name, n, label, rows[label], flush=True)
    return rows


if __name__ == "__main__":
    body = {f"{name}:{n}": case(name, n) for name, n in CASES}
    save("rules", {"cycle": CYCLES}, {"cases": body})
