"""Members over several devices and over several processes: the same numbers, and the time.

    python benchmarks/speed/scaling.py    writes results/scaling.json (two minutes)

A filtering run of `lorenz63-z` with the paper's kernel and `ShardedFlow`, by one device, by two
virtual CPU devices of one process, and by two processes that find each other by
`jax.distributed`: a child of this script each, so this is also the example of how to do it. Virtual
devices share the cores that one device uses anyway: what is shown is that nothing is lost and no
number changes, not a gain. Then one analysis by the flow at N = 10,000, on one device.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time

MEMBERS, CYCLES, SEED = 2001, 10, 5  # two devices do not divide 2001
LARGE, DIMENSIONS = 10_000, (3, 20)
COLLECTIVES = r"= (\S+) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\("
TIMEOUT = 240


def timed(call, repeats=5):
    """Return the result of a compiled call and the median of its seconds."""
    import jax

    result, seconds = jax.block_until_ready(call()), []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - begin)
    return result, statistics.median(seconds)


def collectives(sampler, n):
    """Return the collectives in the compiled solver loop: the loop's own, not its operands'."""
    import jax
    import jax.numpy as jnp

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((n, 3), (n, 3), (n,), ())]
    text = jax.jit(lambda *a: sampler.sample(*a)).lower(*shapes).compile().as_text()
    loops = set(re.findall(r"body=%?([\w.\-]+)", text))
    found = []
    for name in loops:
        body = re.search(rf"^%?{re.escape(name)} .*?^}}", text, re.M | re.S)
        found += [" ".join(pair) for pair in re.findall(COLLECTIVES, body.group(0) if body else "")]
    return found


def run(devices, process=None, port=None):
    """Filter with the members over all devices there are, and print what came out as JSON."""
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    if process is not None:
        jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=process)
    import jax.numpy as jnp
    import numpy as np

    import kdediff_jax as kd
    from kdediff_jax import experiments

    experiment = experiments.load("lorenz63-z")
    twin = experiment.twin(SEED, MEMBERS, CYCLES, jnp.dtype(jnp.float32))
    # host arrays: every process has the same, and none belongs to a device yet
    members, ys = np.asarray(twin.ensemble), np.asarray(twin.ys)
    sampler = kd.ProbabilityFlow()
    if jax.device_count() > 1:
        mesh = jax.make_mesh((jax.device_count(),), ("members",))
        sampler = kd.ShardedFlow(sampler, mesh)
    h_x, h_y = experiment.bandwidths_for(250)
    analysis = kd.KDEDiffusion(state_bandwidth=h_x, obs_bandwidth=h_y, sampler=sampler)
    modules = experiment.dynamics, experiment.observation, analysis

    @jax.jit
    def filtered(members, ys):
        result = kd.assimilate(jax.random.key(SEED), *modules, members, ys)
        return result.mean, result.spread, result.info.num_steps

    (mean, spread, steps), seconds = timed(lambda: filtered(members, ys), repeats=3)
    out = {"devices": jax.device_count(), "processes": jax.process_count(), "seconds": seconds}
    out |= {"mean": np.asarray(mean).tolist(), "spread": np.asarray(spread).tolist()}
    out["steps"] = np.asarray(steps).tolist()
    if jax.device_count() > 1 and process is None:
        out["collectives in the solver loop"] = collectives(sampler, MEMBERS)
    if process in (None, 0):
        print("RESULT" + json.dumps(out), flush=True)


def large(d):
    """Time one analysis by the flow at N = 10,000, and print it as JSON."""
    import jax
    import jax.numpy as jnp

    import kdediff_jax as kd
    from benchmarks.shared.memory import process_peak_mib

    forecast = 3 * jax.random.normal(jax.random.key(0), (LARGE, d))
    obs = kd.GaussianObservation(kd.Identity(), 1.0)
    analysis = kd.KDEDiffusion(state_bandwidth=0.5, obs_bandwidth=1.0)
    y = jnp.ones(d)
    begin = time.perf_counter()
    call = jax.jit(lambda key: analysis(key, forecast, y, obs)[1])
    program = call.lower(jax.random.key(1)).compile()
    compiled = time.perf_counter() - begin
    info, seconds = timed(lambda: program(jax.random.key(1)), repeats=3)
    row = {"N": LARGE, "d": d, "seconds": seconds, "compile seconds": compiled}
    row["evaluations"] = 1 + int(info.num_steps + info.num_rejected)  # of `ExponentialMultistep`
    row["peak MiB of the process"] = process_peak_mib()
    print("RESULT" + json.dumps(row), flush=True)


def children(*commands):
    """Run children side by side, and return what the first printed; none may outlive the limit."""
    environment = {**os.environ, "NPROC": str(2 * (os.cpu_count() or 1) + 2)}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, *map(str, command)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for command in commands
    ]
    try:
        printed = [child.communicate(timeout=TIMEOUT)[0] for child in started]
    finally:
        for child in started:
            child.kill()
    if any(child.returncode for child in started):
        raise RuntimeError(f"{commands}: a child failed")
    return json.loads(printed[0].partition("RESULT")[2])


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def compare():
    """Return one device, two devices and two processes, with their distance to the first."""
    port = free_port()
    rows = {
        "one device": children(("--run", 1)),
        "two devices": children(("--run", 2)),
        "two processes": children(("--run", 1, 0, port), ("--run", 1, 1, port)),
    }
    first = rows["one device"]
    for row in rows.values():
        for name in ("mean", "spread"):
            pairs = zip(row[name], first[name], strict=True)
            by_cycle = [max(abs(a - b) for a, b in zip(*p, strict=True)) for p in pairs]
            row[f"largest difference of {name} by cycle"] = by_cycle
        row["same steps"] = row["steps"] == first["steps"]
    for row in rows.values():
        del row["mean"], row["spread"]
    return rows


def main():
    """Run everything and keep it."""
    from benchmarks.shared.records import save

    body = {"runs": compare(), "one analysis": [children(("--large", d)) for d in DIMENSIONS]}
    print(json.dumps(body, indent=1))
    save("scaling", {"members": MEMBERS, "cycles": CYCLES}, body, seed=SEED)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run(*map(int, sys.argv[2:]))
    elif sys.argv[1:2] == ["--large"]:
        large(int(sys.argv[2]))
    else:
        main()
