"""Localised analyses from a thousand to a million coordinates: time, memory, compile time.

    python benchmarks/speed/large_states.py           writes results/large_states.json and .png
                                                      (20 minutes)
    python benchmarks/speed/large_states.py --quick   to 10,000 coordinates, writes nothing
    python benchmarks/speed/large_states.py --devices 2 100000    coordinates over virtual CPU
                                                      devices and on one, writes nothing

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


def measure(name, d, devices=1):
    """Time analyses, and print the row as JSON."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    import kdediff_jax as kd
    from benchmarks.shared.memory import process_peak_mib

    jax.config.update("jax_num_cpu_devices", devices)
    mesh = Mesh(np.array(jax.devices()), ("coordinates",))
    sites = np.arange(float(d))
    begin = time.perf_counter()
    where = kd.Localisation(sites, sites, RADIUS, period=float(d), mesh=mesh)
    scheme = getattr(kd, name)(where)
    row = {"filter": name, "d": d, "list seconds": time.perf_counter() - begin}
    noise = jax.random.normal(jax.random.key(SEED), (MEMBERS + 1, d))
    fields = sum(jnp.roll(noise, k, axis=1) for k in range(SMOOTH)) / SMOOTH**0.5
    observation = kd.GaussianObservation(kd.Identity(), STD)
    y = observation.sample(jax.random.key(SEED + 1), fields[-1], jnp.zeros(()))
    members = fields[:-1]
    if devices > 1:
        row["devices"] = devices
        split = NamedSharding(mesh, PartitionSpec(None, "coordinates"))
        members = jax.device_put(members, split)
    start = process_peak_mib()

    def analysed(key):
        return jax.block_until_ready(scheme(key, members, y, observation))

    begin = time.perf_counter()
    analysed(jax.random.key(0))
    first, seconds, cpu = time.perf_counter() - begin, [], []
    for k in range(REPEATS):
        begin, used = time.perf_counter(), time.process_time()
        _, info = analysed(jax.random.key(k))
        seconds.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - used)
    error = jnp.sqrt(jnp.mean((info.mean - fields[-1]) ** 2))
    row |= {"seconds": statistics.median(seconds), "CPU seconds": statistics.median(cpu)}
    row |= {"first call": first, "ok": bool(info.ok)}
    row |= {"neighbours": scheme.localisation.lists.measured.shape[1], "rmse": float(error)}
    row |= {"peak MiB": process_peak_mib(), "MiB before": start}
    print("RESULT" + json.dumps(row), flush=True)


def child(name, d, devices=1):
    """Return what a child measured."""
    command = [sys.executable, __file__, "--one", name, str(d), str(devices)]
    # more threads than devices, as `kd.use_every_core` has it
    env = os.environ if devices == 1 else {**os.environ, "NPROC": str(2 * devices)}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=True, env=env
    )
    row = json.loads(done.stdout.partition("RESULT")[2])
    print(
        f"{name} d = {d}, devices {devices}: {row['seconds']:.2f} s ({row['CPU seconds']:.2f} of "
        f"CPU), {1e6 * row['seconds'] / d:.0f} microseconds a coordinate, "
        f"{row['peak MiB']:.0f} MiB, rmse {row['rmse']:.5f}",
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
        measure(sys.argv[2], *map(int, sys.argv[3:]))
    elif sys.argv[1:2] == ["--devices"]:
        count, size = map(int, sys.argv[2:])
        for filter_name in FILTERS:
            for devices in (1, count):
                child(filter_name, size, devices)
    else:
        main("--quick" in sys.argv)
