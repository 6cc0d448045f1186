"""The author's Lorenz-63 grid as one sweep: wall time, and what running in lockstep costs.

    python benchmarks/speed/sweep_grid.py             writes results/sweep_grid.json and a picture
    python benchmarks/speed/sweep_grid.py --quick     a sixtieth of it, in a minute or two;
                                                      writes nothing
    python benchmarks/speed/sweep_grid.py --batch-size 500     on a GPU: sweep_grid_gpu.json

7 state x 10 measurement bandwidths x 5 tau_max x 10 simulations x 100 cycles at N = 250: 350,000
analyses. Lockstep: in a batch every cycle takes as many solver iterations as its slowest point. Its
cost is the sum over batches and cycles of the largest number, over the sum of each point's own.
"""

from __future__ import annotations

import argparse
import importlib.util
import time

import jax
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.records import OUTPUT, save
from kdediff_jax import experiments
from kdediff_jax.experiments.sweeps import ExperimentRun, references
from kdediff_jax.sweeping import use_every_core

MEMBERS = 250
SEEDS = range(1000, 1010)


def lockstep(iterations, batch):
    """Return the cost of batches of this size, the points in the order given."""
    flat = iterations.reshape(-1, iterations.shape[-1]).astype(np.int64)
    kept = flat[: len(flat) // batch * batch].reshape(-1, batch, flat.shape[-1])
    return float(kept.max(axis=1).sum() * batch / kept.sum())


def grid(experiment, quick):
    """Return the axes and the seeds."""
    axes = {name: experiment.grid[name] for name in ("state_bandwidth", "tau_max", "obs_bandwidth")}
    if quick:
        return {name: values[::3] for name, values in axes.items()}, SEEDS[:2]
    return axes, SEEDS


def referred(seed):
    """Say whose reference is made."""
    print("reference of seed", seed, flush=True)


def report(done, total):
    """Print twenty lines or so."""
    if done % (total // 20 or 1) < 8:
        print(done, "of", total, flush=True)


def lockstep_costs(iterations):
    """Return the cost by batch size, in the grid's order and shuffled."""
    shuffled = np.random.default_rng(0).permutation(iterations.reshape(-1, iterations.shape[-1]))
    batches = [b for b in (4, 8, 32, 100, 500) if b <= len(shuffled)]
    return {
        "grid order": {b: lockstep(iterations, b) for b in batches},
        "shuffled": {b: lockstep(shuffled, b) for b in batches},
    }


def summary(result, cycles, referenced):
    """Return what is kept, and the mean sliced W2 over the grid."""
    failed, iterations = result.values["failed"], result.values["iterations"]
    analyses = failed.size * cycles
    chosen, means = kd.best_point(result, "sliced_w2")
    by_energy, _ = kd.best_point(result, "energy_score")
    body = {
        "points": int(failed.size),
        "analyses": int(analyses),
        "seconds": {
            "references": referenced,
            "compile": result.compile_seconds,
            "run": result.run_seconds,
            "per analysis": result.run_seconds / analyses,
        },
        "batch size": result.batch_size,
        "devices": f"{result.num_devices} x {jax.devices()[0].device_kind}",
        "failed points": int((failed > 0).sum()),
        "chosen by sliced W2": chosen,
        "its sliced W2": float(np.nanmin(means)),
        "chosen by energy score": by_energy,
        "iterations per analysis": float(iterations.mean()),
        "lockstep cost": lockstep_costs(iterations),
        "steps by tau_max": {
            f"{tau:g}": float(np.nanmean(result.values["steps"][:, i]))
            for i, tau in enumerate(result.axes["tau_max"])
        },
    }
    return body, means


def picture(result, chosen, means):
    """Draw the scores over the two bandwidths at the best tau_max."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no matplotlib: no picture")
        return
    best = np.unravel_index(np.nanargmin(means), means.shape)
    figure = kd.plots.heat_map(
        result.axes["state_bandwidth"],
        result.axes["obs_bandwidth"],
        means[:, best[1]],
        chosen=(chosen["state_bandwidth"], chosen["obs_bandwidth"]),
        names=("state bandwidth", "obs bandwidth"),
        label=f"sliced W2, mean over {len(SEEDS)} seeds",
        title=f"lorenz63-z, kde, N = {MEMBERS}, tau_max = {chosen['tau_max']:g}",
    )
    kd.plots.save(figure, OUTPUT / "sweep_grid.png", force=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--checkpoint", default=None)
    options = parser.parse_args()
    use_every_core()
    experiment = experiments.load("lorenz63-z")
    axes, seeds = grid(experiment, options.quick)
    begin = time.perf_counter()
    posteriors = references(experiment, seeds, progress=referred)
    referenced = time.perf_counter() - begin
    result = kd.sweep(
        ExperimentRun(experiment, "kde", MEMBERS, posteriors=posteriors, keep="iterations"),
        {**axes, "seed": seeds},
        batch_size=options.batch_size,
        checkpoint=options.checkpoint,
        fingerprint="sweep_grid",
        progress=report,
    )
    body, means = summary(result, experiment.num_cycles, referenced)
    print(body)
    if jax.default_backend() == "gpu":
        save("sweep_grid_gpu", {"seeds": list(seeds)}, body, partial=options.quick)
        return
    save("sweep_grid", {"seeds": list(seeds)}, body, partial=options.quick)
    if not options.quick:
        picture(result, body["chosen by sliced W2"], means)


if __name__ == "__main__":
    main()
