"""Lorenz-96 through arctan, from members that know nothing: which part of a large field is lost.

python benchmarks/accuracy/lost_neighbourhoods.py           writes its record (8 minutes)
python benchmarks/accuracy/lost_neighbourhoods.py --quick   d = 400 alone, writes nothing

`enff-l96` (arXiv 2508.13313): F = 8, steps of 0.01, arctan of every coordinate measured every 0.1
with standard deviation 0.05, N = 20 members N(0, I), 80 analyses; published at d = 10^6: EnFF .172,
EnSF .403. "half" measures every second coordinate, twice as often. "tanh" measures tanh of every
coordinate, twice as often: nothing was chosen on it. The filter is the untuned `LEnKPF`, radius 4,
as it is and without what it does for lost neighbourhoods. A site is lost where the mean is off by
more than 1 after the last analysis.
"""

from __future__ import annotations

import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.memory import process_peak_mib
from benchmarks.shared.records import save

MEMBERS, RADIUS, STD, CYCLES, SPIN_UP, STEP = 20, 4.0, 0.05, 80, 200, 0.01
PUBLISHED = {"d": 1_000_000, "EnFF": 0.172, "EnSF": 0.403}
# measured, interval, d, seeds, whether the filter without the widening is run too
CASES = (
    ("all", 0.1, 400, range(6), True),
    ("half", 0.05, 400, range(6), True),
    ("tanh", 0.05, 1000, range(40, 46), True),
    ("all", 0.1, 10_000, range(1), True),
)
QUICK = (("all", 0.1, 400, range(1), True),)
EVERY = {"all": 1, "half": 2, "tanh": 1}


class Saturating(eqx.Module):
    """Arctan or tanh of some coordinates."""

    measured: str = eqx.field(static=True)

    def __call__(self, x):
        """Return h(x)."""
        function = jnp.tanh if self.measured == "tanh" else jnp.arctan
        return function(x[:: EVERY[self.measured]])


def twin(measured, interval, d, seed):
    """Return the models, truth, measurements, first members and the run's key."""
    model = kd.Lorenz96(interval=interval, substeps=round(interval / STEP))
    truth_key, member_key, run_key = jax.random.split(jax.random.key(seed), 3)
    start = 8 + jax.random.normal(truth_key, (d,))
    start = jax.lax.fori_loop(0, SPIN_UP, lambda _, x: model.step(truth_key, x, 0.0), start)
    observation = kd.GaussianObservation(Saturating(measured), STD)
    truth, ys = kd.twin_experiment(run_key, model, observation, start, CYCLES)
    members = jax.random.normal(member_key, (MEMBERS, d))
    return (model, observation), truth, ys, members, run_key


def filters(every, d, both):
    """Return the filter as it is, and without what it does for lost neighbourhoods."""
    sites = np.arange(float(d))
    where = kd.Localisation(sites, sites[::every], RADIUS, float(d))
    never = kd.LostNeighbourhoods(outlier_threshold=jnp.inf, largest_increment=jnp.inf)
    found = {"as it is": kd.LEnKPF(where)}
    return found | ({"never widened": kd.LEnKPF(where, lost_neighbourhoods=never)} if both else {})


def measure(scheme, problem):
    """Return what is kept of one run."""
    models, truth, ys, members, key = problem

    def run(members, ys):
        result = kd.assimilate(key, *models, scheme, members, ys)
        return result.mean, result.info.ok

    program = jax.jit(run).lower(members, ys).compile()
    begin, cpu = time.perf_counter(), time.process_time()
    mean, ok = jax.block_until_ready(program(members, ys))
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    error = np.asarray(mean - truth, np.float64)
    return {
        "rmse": float(np.sqrt(np.mean(error[-1] ** 2))),
        "rmse of the second half": float(np.sqrt(np.mean(error[CYCLES // 2 :] ** 2, 1)).mean()),
        "lost": float(np.mean(np.abs(error[-1]) > 1)),
        "failed": int((~ok).sum()),
        "seconds a cycle": seconds / CYCLES,
        "cpu seconds a cycle": cpu_seconds / CYCLES,
    }


def main(quick):
    """Run all cases."""
    rows = []
    for measured, interval, d, seeds, both in QUICK if quick else CASES:
        for seed in seeds:
            problem = twin(measured, interval, d, seed)
            for label, scheme in filters(EVERY[measured], d, both).items():
                row = {"measured": measured, "interval": interval, "d": d, "seed": seed}
                rows.append(row | {"filter": label} | measure(scheme, problem))
                print(rows[-1], flush=True)
    settings = {"members": MEMBERS, "radius": RADIUS, "cycles": CYCLES}
    body = {"published": PUBLISHED, "rows": rows, "peak MiB": process_peak_mib()}
    save("lost_neighbourhoods", settings, body, partial=quick)


if __name__ == "__main__":
    main("--quick" in sys.argv)
