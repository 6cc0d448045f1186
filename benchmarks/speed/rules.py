"""Cost of one analysis: fixed bandwidths, rules that choose them, the untuned filter, classical.

python benchmarks/speed/rules.py    writes results/rules.json (a minute or two)

Each scheme runs on the forecast of cycle 50 of an experiment, compiled, float32, calls interleaved,
medians of 15.
"""

from __future__ import annotations

import equinox as eqx
import jax

import kdediff_jax as kd
from benchmarks.shared.records import save
from benchmarks.shared.runs import CYCLES, last_forecast
from benchmarks.shared.timing import interleaved_medians
from kdediff_jax import experiments

CASES = (("lorenz63-z", 250), ("lorenz63-z", 1000), ("lorenz96-10", 250), ("lorenz96-10", 1000))
FIXED = "fixed bandwidths, flow"


def schemes(experiment, n):
    """Return the schemes by name."""
    h_x, h_y = experiment.bandwidths_for(n)
    return {
        FIXED: kd.KDEDiffusion(h_x, h_y),
        "fixed bandwidths, mixture draws": kd.KDEDiffusion(h_x, h_y, sampler=kd.ExactMixture()),
        "Silverman, flow": kd.KDEDiffusion(kd.Silverman(), h_y),
        "LeaveOneOut, flow": kd.KDEDiffusion(kd.LeaveOneOut(), h_y),
        "TargetESS, flow": kd.KDEDiffusion(h_x, kd.TargetESS()),
        "EnKPF, mixture draws": kd.EnKPF(),
        "EnKPF, flow": kd.EnKPF(sampler=kd.ProbabilityFlow()),
        "EnKF": kd.EnKF(),
        "ETKF": kd.ETKF(),
        "SIR": kd.SIR(jitter=0.5),
    }


@eqx.filter_jit
def analyse(scheme, key, forecast, y, observation):
    """Return one analysis."""
    return scheme(key, forecast, y, observation)


def case(name, n):
    """Time every scheme on one forecast."""
    experiment = experiments.load(name)
    forecast, y = last_forecast(experiment, kd.EnKPF(), n)
    key, found = jax.random.key(1), schemes(experiment, n)

    def call(scheme):
        return lambda: analyse(scheme, key, forecast, y, experiment.observation)

    medians = interleaved_medians({label: call(scheme) for label, scheme in found.items()})
    rows = {}
    for label, scheme in found.items():
        info = call(scheme)()[1]
        rows[label] = {
            "milliseconds": round(1e3 * medians[label], 3),
            "of fixed, flow": round(medians[label] / medians[FIXED], 2),
            "solver steps": int(info.num_steps) + int(info.num_rejected),
        }
        print(name, n, label, rows[label], flush=True)
    return rows


if __name__ == "__main__":
    body = {f"{name}:{n}": case(name, n) for name, n in CASES}
    save("rules", {"cycle": CYCLES}, {"cases": body})
