"""What the compiler makes of the core for an H100, on a machine without a GPU.

    python benchmarks/speed/gpu_compiled.py    writes results/gpu_compiled.json (one minute)

Needs `jax[cuda12]` (or cuda13), but no GPU: XLA compiles ahead of time for a described device.
Recorded are the memory that it plans for one evaluation and its gradient, and for the fused kernel
the registers and spills of every thread, with `nvdisasm` (package nvidia-cuda-nvdisasm, beside
`ptxas`) also the instructions of the inner loop for each pair. An H100 issues at most 128 of them a
cycle and multiprocessor, which bounds the time per pair from below. Nothing here ran on a GPU.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from unittest import mock

os.environ["JAX_PLATFORMS"] = "cpu"  # the plugin only describes the device

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from benchmarks.shared.memory import gradient
from benchmarks.shared.records import save
from kdediff_jax import fused, pairwise

LARGE = 1_000_000
PLANNED = ((16384, 3), (16384, 20), (LARGE, 3), (LARGE, 20))
KERNELS = (1, 3, 10, 20, 32, 40, 64, 100, 128)
MEMBERS = 16384
MULTIPROCESSORS, CLOCK, LANES = 132, 1.755e9, 128  # of an H100 SXM, at its boost clock
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472  threads_per_core_limit: 2048
  core_count: 132  fpus_per_core: 128
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000  l2_cache_size: 52428800  clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  cuda_compute_capability { major: 9  feature_extension: ACCELERATED_FEATURES }
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9  minor: 10 }
runtime_version { major: 12  minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def compiled(function, *shapes, dtype=jnp.float32):
    """Compile a function of arrays of these shapes for the device."""
    topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    mesh = topologies.make_mesh(topology, (1,), ("device",))
    there = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    arguments = [jax.ShapeDtypeStruct(shape, dtype, sharding=there) for shape in shapes]
    # the rule of the tiles and the check of the kernel ask for the device at hand
    with (
        mock.patch("jax.default_backend", return_value="gpu"),
        mock.patch.object(fused, "works", return_value=True),
    ):
        return jax.jit(function).lower(*arguments).compile()


def of_core(core, n, d):
    """Compile a core, or its gradient."""
    return compiled(core, (n, d), (n, d), (n,), ())


def kernel(x, c, b, tau):
    """The fused kernel, without its check on the device."""
    return fused.kernel(x, c, None, b, tau, None, False)


def planned(n, d):
    """Return the MiB of temporaries of both cores, value and gradient."""
    row = {"N": n, "d": d}
    for name, core in (("tiles", pairwise.softmax_shift), ("fused", kernel)):
        for what, function in (("value", core), ("gradient", gradient(core))):
            plan = of_core(function, n, d).memory_analysis()
            row[f"{name}, {what}"] = plan.temp_size_in_bytes / 2**20
    return row


def machine_code(d):
    """Return registers, spills and instructions of the kernel, which another process prints."""
    dumps = {"MOSAIC_GPU_DUMP_PTXAS": "1", "MOSAIC_GPU_DUMP_SASS": "1"}
    call = [sys.executable, __file__, "--kernel", str(d)]
    done = subprocess.run(call, env=os.environ | dumps, capture_output=True, text=True, check=True)
    text = done.stdout + done.stderr
    tile = fused.tile_for(MEMBERS, MEMBERS, d)
    row = {
        "d": d,
        "tile": tile,
        "registers": int(re.search(r"Used (\d+) registers", text)[1]),
        "bytes spilled": int(re.search(r"(\d+) bytes spill stores", text)[1]),
    }
    loop = re.search(r"^\.L_x_0:\n(.*?BRA `\(\.L_x_0\))", text, re.MULTILINE | re.DOTALL)
    if loop is not None:
        count = len(re.findall(r"^\s+/\*[0-9a-f]{4}\*/", loop[1], re.MULTILINE))
        each = count / (tile.chunk * tile.rows / 128)
        row["instructions per pair"] = each
        row["picoseconds per pair, at least"] = 1e12 * each / (MULTIPROCESSORS * CLOCK * LANES)
    return row


if __name__ == "__main__":
    if "--kernel" in sys.argv:
        of_core(kernel, MEMBERS, int(sys.argv[-1]))
    else:
        body = {"planned MiB": [planned(*size) for size in PLANNED]}
        body["kernel"] = [machine_code(d) for d in KERNELS]
        print(*body["planned MiB"], *body["kernel"], sep="\n")
        settings = {"device": "NVIDIA H100 80GB HBM3", "members": MEMBERS}
        save("gpu_compiled", settings, body)
