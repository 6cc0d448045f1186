"""What the compiler makes of whole filtering runs for the GPU at hand.

    python benchmarks/speed/gpu_programs.py             on a GPU: writes results/gpu_programs.json
    python benchmarks/speed/gpu_programs.py --rehearse  anywhere: the same, writes nothing

A batch of runs is compiled as one program, not run, and its text is searched: for calls to the
host, of which there must be none, and for matrix products below full precision (TF32), which would
cost a filter its digits. The memory that the program plans is beside them.
"""

from __future__ import annotations

import re
import sys

import jax
import jax.numpy as jnp

import kdediff_jax as kd
from benchmarks.shared.records import save
from kdediff_jax import experiments
from kdediff_jax.experiments.sweeps import ExperimentRun

REHEARSE = "--rehearse" in sys.argv
CYCLES = 20
FUSED = kd.ProbabilityFlow(core="fused")
CASES = (
    ("lorenz63-z", "kde", 250, 64, None),
    ("lorenz63-z", "kde", 10_000, 1, FUSED),
    ("lorenz63-z", "enkpf", 250, 64, None),
    ("lorenz63-z", "enkf", 250, 64, None),
    ("lorenz63-z", "sir", 250, 64, None),
    ("lorenz96-40", "lenkpf", 40, 64, None),
    ("lorenz96-40", "letkf", 40, 64, None),
)
PRODUCT = re.compile(r"^.*(?: dot\(|convolution\(|cublas\$gemm).*$", re.MULTILINE)


def inspected(name, label, members, runs, sampler):
    """Compile one case and return what its text says."""
    one = ExperimentRun(experiments.load(name), label, members, num_cycles=CYCLES, sampler=sampler)
    program = jax.jit(jax.vmap(lambda seed: one({"seed": seed}))).lower(jnp.arange(runs)).compile()
    text = program.as_text()
    products = PRODUCT.findall(text)
    return {
        "experiment": name,
        "filter": label + (", fused" if sampler is FUSED else ""),
        "N": members,
        "runs": runs,
        "planned MiB": program.memory_analysis().temp_size_in_bytes / 2**20,
        "by the fused kernel": "mosaic_gpu" in text,
        "calls to the host": len(re.findall(r"callback|infeed|outfeed", text)),
        "products": len(products),
        "below full precision": sum("highest" not in line.lower() for line in products),
    }


def main():
    """Compile every case; keep what was found."""
    if not REHEARSE and jax.default_backend() != "gpu":
        sys.exit("There is no GPU here: --rehearse compiles the same anywhere.")
    rows = []
    for name, label, members, runs, sampler in CASES:
        if REHEARSE and sampler is FUSED:
            continue  # needs a GPU
        rows.append(inspected(name, label, members, runs, sampler))
        print(rows[-1], flush=True)
        body = {"device": jax.devices()[0].device_kind, "runs": rows}
        save("gpu_programs", {"cycles": CYCLES}, body, partial=REHEARSE)


if __name__ == "__main__":
    main()
