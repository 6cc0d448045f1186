"""What each scheme of the tests, and a gradient through it, costs to trace, lower and compile.

python benchmarks/speed/compile_times.py    writes results/compile_times.json
(10 minutes; --before CHECKOUT measures another checkout beside this one, --only SCHEME [...] some)

One process for each program, float32, CPU seconds, XLA's optimiser at its defaults. Kernels are
the fusions, library calls, sorts and copies of the compiled program.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
KINDS = ("value", "gradient")
KERNELS = re.compile(r" (fusion|custom-call|sort|copy|dot)\(")


def measure(name, kind):
    """Return seconds and kernels of one program, compiled here and now."""
    import jax
    import jax.numpy as jnp
    import schemes

    def call(forecast, key, y, problem):
        scheme = schemes.SCHEMES[name].build(problem)
        return scheme(key, forecast, y, problem.observation)

    def loss(*args):
        return jnp.sum(call(*args)[0] ** 2)

    (forecast, y), problem = schemes.data(name), schemes.problem(name)
    forecast, y, problem = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32), (forecast, y, problem)
    )
    jax.jit(jnp.sin).lower(y).compile()  # what every process pays once
    program = jax.jit(call if kind == "value" else jax.grad(loss))
    times = [time.process_time()]
    traced = program.trace(forecast, jax.random.key(0), y, problem)
    times.append(time.process_time())
    lowered = traced.lower()
    times.append(time.process_time())
    compiled = lowered.compile()
    times.append(time.process_time())
    trace, lower, xla = (round(b - a, 2) for a, b in itertools.pairwise(times))
    text = compiled.as_text() or ""
    return {
        **{"trace": trace, "lower": lower, "compile": xla},
        "total": round(times[-1] - times[0], 2),
        "kernels": len(KERNELS.findall(text)),
    }


def in_a_process(checkout, name, kind):
    """Return the same of a checkout, in a process of its own."""
    path = os.pathsep.join([str(checkout), str(checkout / "tests")])
    command = [sys.executable, __file__, "--one", name, kind]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        stdout=subprocess.PIPE,
        cwd=checkout,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Measure all, or one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=2)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from schemes import SCHEMES

    from benchmarks.shared.records import save

    checkouts = {"before": options.before, "now": ROOT}
    found = {}
    for name in options.only or SCHEMES:
        found[name] = {
            kind: {
                label: in_a_process(checkout.resolve(), name, kind)
                for label, checkout in checkouts.items()
                if checkout is not None
            }
            for kind in KINDS
        }
        print(name, found[name], flush=True)
    save("compile_times", {}, {"schemes": found}, partial=bool(options.only))


if __name__ == "__main__":
    main()
