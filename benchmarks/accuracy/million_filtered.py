"""`enff-l96` at the published size: the untuned LEnKPF on a million coordinates, cycle by cycle.

    python benchmarks/accuracy/million_filtered.py           writes its record (1 hour on two cores)
    python benchmarks/accuracy/million_filtered.py 100000    at another size, writes nothing

arXiv 2508.13313: F = 8, steps of 0.01, arctan of every coordinate measured every 0.1 with standard
deviation 0.05, N = 20 members N(0, I), 80 analyses; published at d = 10^6: EnFF .172, EnSF .403.
The coordinates are shared out over two virtual CPU devices. Online (`kd.cycle`): truth, measurement
and mean are those of one cycle, so that memory is the filter's. RMSE of the analysis mean; a site
is lost where it is off by more than 1. The record is written after every tenth analysis: a run that
is stopped has its part.
"""

from __future__ import annotations

import os
import sys
import time

DEVICES, POINTS, CYCLES, MEMBERS, RADIUS, SEED = 2, 1_000_000, 80, 20, 4.0, 0
os.environ.setdefault("NPROC", str(2 * DEVICES))  # more threads than devices, see use_every_core

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402

import kdediff_jax as kd  # noqa: E402
from benchmarks.shared.memory import process_peak_mib  # noqa: E402
from benchmarks.shared.records import save  # noqa: E402
from kdediff_jax.experiments.settings import enff_l96  # noqa: E402


def starts(experiment, d):
    """Return the first truth and members, the members shared out over the devices."""
    mesh = Mesh(np.array(jax.devices()), ("coordinates",))
    truth, members = experiment.initial(jax.random.key(SEED), MEMBERS)
    split = NamedSharding(mesh, PartitionSpec(None, "coordinates"))
    sites = np.arange(float(d))
    where = kd.Localisation(sites, sites, RADIUS, period=float(d), mesh=mesh)
    return truth, jax.device_put(members, split), kd.LEnKPF(where)


def next_truth(experiment):
    """Return the truth's step and its measurement, compiled."""

    @jax.jit
    def step(key, truth):
        step_key, noise_key = jax.random.split(key)
        truth = experiment.truth_dynamics.step(step_key, truth, jnp.zeros(()))
        return truth, experiment.observation.sample(noise_key, truth, jnp.zeros(()))

    return step


def measure(d):
    """Run the filter, and return a row for every analysis."""
    experiment = enff_l96.experiment(d)
    truth, members, scheme = starts(experiment, d)
    step = next_truth(experiment)
    state = kd.init(jax.random.key(SEED + 1), members)
    for cycle in range(CYCLES):
        truth, y = step(jax.random.fold_in(jax.random.key(SEED + 2), cycle), truth)
        jax.block_until_ready(y)
        begin, cpu = time.perf_counter(), time.process_time()
        state, out = kd.cycle(state, experiment.dynamics, experiment.observation, scheme, y)
        mean = jax.block_until_ready(out.info.mean)
        row = {"analysis": cycle + 1, "seconds": time.perf_counter() - begin}
        row |= {"CPU seconds": time.process_time() - cpu, "ok": bool(out.info.ok)}
        error = np.asarray(mean, np.float64) - np.asarray(truth, np.float64)
        row |= {"rmse": float(np.sqrt(np.mean(error**2)))}
        row |= {"lost": float(np.mean(np.abs(error) > 1)), "peak MiB": process_peak_mib()}
        print(row, flush=True)
        yield row


def main(sizes):
    """Measure, and keep what is at the published size."""
    jax.config.update("jax_num_cpu_devices", DEVICES)
    for d in sizes or [POINTS]:
        rows = []
        for row in measure(d):
            rows.append(row)
            if d == POINTS and row["analysis"] % 10 == 0:
                settings = {"d": d, "members": MEMBERS, "radius": RADIUS, "devices": DEVICES}
                save("million_filtered", settings, {"rows": rows}, seed=SEED)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
