"""Localised analyses from a thousand to a million coordinates: time, memory, compile time.

    python benchmarks/speed/large_states.py           writes results/large_states.json and .png
                                                      (20 minutes)
    python benchmarks/speed/large_states.py --quick   to 10,000 coordinates, writes nothing

A ring of d sites of which each is measured with noise of standard deviation 0.5, N = 20 Gaussian
members correlated over a few sites, a radius of 4 sites: lists of 32. A child of this script for
every filter and d, so that its peak memory is its own. Median of three calls after a first.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

MEMBERS, RADIUS, STD, SMOOTH, SEED = 20, 4.0, 0.5, 3, 0
SIZES = (1_000, 10_000, 100_000, 1_000_000)
FILTERS = ("LETKF", "LEnKPF")
REPEATS, TIMEOUT = 3, 1500


def measure(name, d):
    """Time analyses, and print the row as JSON."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import kdediff_jax as kd
    from benchmarks.shared.memory import process_peak_mib

    sites = np.arange(float(d))
    begin = time.perf_counter()
    scheme = getattr(kd, name)(kd.Localisation(sites, sites, RADIUS, period=float(d)))
    row = {"filter": name, "d": d, "list seconds": time.perf_counter() - begin}
    noise = jax.random.normal(jax.random.key(SEED), (MEMBERS + 1, d))
    fields = sum(jnp.roll(noise, k, axis=1) for k in range(SMOOTH)) / SMOOTH**0.5
    observation = kd.GaussianObservation(kd.Identity(), STD)
    y = observation.sample(jax.random.key(SEED + 1), fields[-1], jnp.zeros(()))
    members = fields[:-1]
    start = process_peak_mib()

    def analysed(key):
        return jax.block_until_ready(scheme(key, members, y, observation))

    begin = time.perf_counter()
    analysed(jax.random.key(0))
    first, seconds = time.perf_counter() - begin, []
    for k in range(REPEATS):
        begin = time.perf_counter()
        _, info = analysed(jax.random.key(k))
        seconds.append(time.perf_counter() - begin)
    error = jnp.sqrt(jnp.mean((info.mean - fields[-1]) ** 2))
    row |= {"seconds": statistics.median(seconds), "first call": first, "ok": bool(info.ok)}
    row |= {"neighbours": scheme.localisation.lists.measured.shape[1], "rmse": float(error)}
    row |= {"peak MiB": process_peak_mib(), "MiB before": start}
    print("RESULT" + json.dumps(row), flush=True)


def child(name, d):
    """Return what a child measured."""
    command = [sys.executable, __file__, "--one", name, str(d)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=True, env=os.environ
    )
    row = json.loads(done.stdout.partition("RESULT")[2])
    print(
        f"{name} d = {d}: {row['seconds']:.2f} s, {1e6 * row['seconds'] / d:.0f} microseconds a "
        f"coordinate, {row['peak MiB']:.0f} MiB",
        flush=True,
    )
    return row


def draw(rows, path):
    """Plot time and memory against d, with a straight line through the largest."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, key, unit in zip(axes, ("seconds", "peak MiB"), ("seconds", "MiB"), strict=True):
        for name, marker in zip(FILTERS, "os", strict=True):
            mine = [row for row in rows if row["filter"] == name]
            sizes, values = [r["d"] for r in mine], [r[key] for r in mine]
            (line,) = axis.loglog(sizes, values, marker, label=name)
            straight = [values[-1] * d / sizes[-1] for d in sizes]
            axis.loglog(sizes, straight, ":", color=line.get_color(), linewidth=1)
        axis.set(xlabel="coordinates", ylabel=f"{unit} of one analysis")
        axis.legend()
    figure.savefig(path, dpi=150)


def main(quick):
    """Measure, and keep it."""
    from benchmarks.shared.records import OUTPUT, save

    sizes = SIZES[:2] if quick else SIZES
    rows = [child(name, d) for name in FILTERS for d in sizes]
    settings = {"members": MEMBERS, "radius": RADIUS, "std": STD, "smooth": SMOOTH}
    save("large_states", settings, {"rows": rows}, seed=SEED, partial=quick)
    if not quick:
        draw(rows, OUTPUT / "large_states.png")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main("--quick" in sys.argv)
