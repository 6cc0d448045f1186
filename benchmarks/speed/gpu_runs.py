"""Whole filtering runs on a GPU and on the CPU cores beside it: time, and the same scores.

    python benchmarks/speed/gpu_runs.py             on a GPU: writes results/gpu_runs.json (4 min)
    python benchmarks/speed/gpu_runs.py --rehearse  anywhere: small, writes nothing

Each row is one `kd.sweep` of an experiment over seeds, float32: all runs in one program, 50 cycles
each. A child process with `JAX_PLATFORMS=cpu` makes the same rows on all the cores of the same
machine. Path by path the two part, as chaos has it; the mean scores must not: their difference is
given with the standard error of the paired seeds. Then runs of many members, where the work is in
the pairs: the portable tiles against the fused kernel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.records import save
from kdediff_jax import experiments
from kdediff_jax.experiments.sweeps import ExperimentRun
from kdediff_jax.sweeping import use_every_core

REHEARSE = "--rehearse" in sys.argv
CYCLES = 5 if REHEARSE else 50
MOST = 4 if REHEARSE else 512
MOST_ON_CPU = 4 if REHEARSE else 64  # a CPU's time is linear in the number of runs
CASES = (
    ("lorenz63-z", "kde", 250, 512),
    ("lorenz63-z", "enkpf", 250, 512),
    ("lorenz63-z", "enkf", 250, 512),
    ("lorenz63-z", "sir", 250, 512),
    ("lorenz96-40", "lenkpf", 40, 512),
    ("lorenz96-40", "letkf", 40, 512),
)
ALONE = ("kde", "enkpf")  # timed as a single run too
LARGE = (200,) if REHEARSE else (10_000, 30_000)
LARGE_CYCLES = 2 if REHEARSE else 5


def swept(name, label, members, runs, cycles=CYCLES, sampler=None):
    """Return the row of one sweep over seeds, the second call's time, and its scores."""
    run = ExperimentRun(experiments.load(name), label, members, num_cycles=cycles, sampler=sampler)
    result = kd.sweep(run, {"seed": range(runs)}, batch_size=runs)
    again = kd.sweep(run, {"seed": range(runs)}, batch_size=runs)
    analyses = runs * cycles
    row = {
        "experiment": name,
        "filter": label,
        "N": members,
        "runs": runs,
        "cycles": cycles,
        "seconds to compile": result.compile_seconds,
        "seconds": again.run_seconds,
        "microseconds per analysis": 1e6 * again.run_seconds / analyses,
        "failed runs": int((result.values["failed"] > 0).sum()),
    }
    return row, np.asarray(result.values["energy_score"], float)


def here(cases, most):
    """Return the rows of these cases on the default device, with the scores."""
    rows = []
    for name, label, members, many in cases:
        for runs in sorted({1, min(many, most)} if label in ALONE else {min(many, most)}):
            row, scores = swept(name, label, members, runs)
            print(row, flush=True)
            rows.append(row | {"scores": scores.tolist()})
    return rows


def on_the_cores(cases):
    """Return what a child process without the GPU makes of the same cases."""
    first, last = CASES.index(cases[0]), CASES.index(cases[-1]) + 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cpu.json"
        call = [sys.executable, __file__, "--cpu", str(path), str(first), str(last), *sys.argv[1:]]
        subprocess.run(call, env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=True)
        return json.loads(path.read_text())


def compared(cases, gpu, cpu):
    """Return one row a case: ratios of times and the two mean scores."""
    rows = []
    for *case, _ in cases:
        ours, theirs = (
            [r for r in rows if [r["experiment"], r["filter"], r["N"]] == case]
            for rows in (gpu, cpu)
        )
        many, few = ours[-1], theirs[-1]
        paired = np.subtract(many["scores"][: few["runs"]], few["scores"])
        row = {
            "case": case,
            "each of many runs, CPU / GPU": few["microseconds per analysis"]
            / many["microseconds per analysis"],
            "energy score, GPU": float(np.nanmean(many["scores"][: few["runs"]])),
            "energy score, CPU": float(np.nanmean(few["scores"])),
            "difference": float(np.nanmean(paired)),
            "its standard error": float(np.nanstd(paired, ddof=1) / len(paired) ** 0.5),
        }
        if case[1] in ALONE:
            row["one run, CPU / GPU"] = theirs[0]["seconds"] / ours[0]["seconds"]
        rows.append(row)
    return rows


def many_members():
    """Return runs of the paper's filter with many members, by tiles and by the fused kernel."""
    rows = []
    for members in LARGE:
        for core in ("tiled",) if REHEARSE else ("tiled", "fused"):
            sampler = kd.ProbabilityFlow(core=core)
            row, _ = swept("lorenz63-z", "kde", members, 1, LARGE_CYCLES, sampler)
            rows.append(row | {"core": core})
            print(rows[-1], flush=True)
    return rows


def main():
    """Measure, print and keep."""
    if not REHEARSE and jax.default_backend() != "gpu":
        sys.exit("There is no GPU here: --rehearse runs a small part anywhere.")
    body = {"device": jax.devices()[0].device_kind, "cores": os.cpu_count()}
    flags = Path("/proc/cpuinfo").read_text()
    body["instructions"] = "AVX-512" if "avx512f" in flags else "AVX2"
    body |= {"many members": [], "compared": [], "gpu": [], "cpu": []}
    for cases in (CASES[:4], CASES[4:]):
        gpu, cpu = here(cases, MOST), on_the_cores(cases)
        both = compared(cases, gpu, cpu)
        body["compared"] += both
        for name, rows in (("gpu", gpu), ("cpu", cpu)):
            body[name] += [{k: v for k, v in row.items() if k != "scores"} for row in rows]
        # kept as it grows: a lent GPU may be gone before the end
        save("gpu_runs", {"cycles": CYCLES}, body, partial=REHEARSE)
        print(*both, sep="\n", flush=True)
    body["many members"] = many_members()
    save("gpu_runs", {"cycles": CYCLES}, body, partial=REHEARSE)


if __name__ == "__main__":
    if "--cpu" in sys.argv:
        use_every_core()
        path, first, last = sys.argv[2:5]
        Path(path).write_text(json.dumps(here(CASES[int(first) : int(last)], MOST_ON_CPU)))
    else:
        main()
