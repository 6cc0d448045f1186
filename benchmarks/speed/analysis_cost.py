"""Cost of one analysis: the flow against a direct NumPy/SciPy solve of the same ODE.

    python benchmarks/speed/analysis_cost.py    writes results/analysis_cost.json

The mixture is a real one: a forecast of `lorenz63-z` (N = 250, d = 3) with its weights, and of
Lorenz-96 in 10 and 20 dimensions. Same latents, same start (the paper's prior start, tau_max 30),
same clock (log tau); the peer is `scipy.integrate.solve_ivp(RK45)` with `cdist` and `softmax`.
"""

from __future__ import annotations

import time

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp
from scipy.spatial.distance import cdist
from scipy.special import softmax

import kdediff_jax as kd
from benchmarks.shared.records import save
from benchmarks.shared.runs import mixture
from benchmarks.shared.timing import interleaved_medians
from kdediff_jax import experiments

N, TAU_MAX, BATCH = 250, 30.0, 10


def scipy_sample(latents, centres, log_weights, bandwidth, tolerance):
    """The peer: the same ODE in u = log tau, written from the formulas."""
    n, d = latents.shape

    def reverse(u, flat):
        x = flat.reshape(n, d)
        tau = np.exp(u)
        logits = log_weights - cdist(x, centres, "sqeuclidean") / (2 * tau**2)
        return (x - softmax(logits, axis=1) @ centres).ravel()

    start = (centres.mean(axis=0) + TAU_MAX * latents).ravel()
    span = (np.log(TAU_MAX), np.log(bandwidth))
    solution = solve_ivp(reverse, span, start, method="RK45", rtol=tolerance, atol=tolerance)
    return solution.y[:, -1].reshape(n, d), len(solution.t) - 1, solution.nfev


def flow_at(tolerance, **kwargs):
    return kd.ProbabilityFlow(
        schedule=kd.VarianceExploding(tau_max=TAU_MAX),
        stepsize_controller=kd.per_member_pid(tolerance, pcoeff=0.0, icoeff=1.0)
        if tolerance < 1e-4
        else kd.per_member_pid(tolerance),
        start="prior",
        **kwargs,
    )


PEER, DEFAULT = "scipy RK45 1e-5", "flow default"
FLOWS = {
    "flow 1e-5": flow_at(1e-5, solver=diffrax.Dopri5()),
    "flow 1e-3": flow_at(1e-3, solver=diffrax.Dopri5()),
    "flow 2e-2": flow_at(2e-2),
    DEFAULT: kd.ProbabilityFlow(),
}


def end_of_curve(latents, centres, log_weights, bandwidth):
    """Return where the curves of the latents end, in float64."""
    wide = [np.asarray(a, np.float64) for a in (latents, centres, log_weights, bandwidth)]
    with jax.enable_x64(True):
        flow = flow_at(1e-9, solver=diffrax.Dopri8(), max_steps=4096)
        samples, _ = run(flow, *map(jnp.asarray, wide))
    return np.asarray(samples)


run = eqx.filter_jit(lambda flow, *args: flow.sample(*args))
repeated = eqx.filter_jit(
    lambda flow, many, *rest: jax.lax.map(lambda z: flow.sample(z, *rest)[0], many)
)


def compare(centres, log_weights, bandwidth):
    """Time one analysis each, and say how far each is from the exact end of its own curve.

    The flow is timed as in a filtering run, as one of `BATCH` solves of one compiled program.
    """
    latents = jax.random.normal(jax.random.key(5), centres.shape)
    args = (latents, centres, log_weights, jnp.asarray(bandwidth))
    wide = [np.asarray(a, np.float64) for a in args[:3]]
    exact = end_of_curve(*args)

    def error(samples):
        """Median and largest distance to the exact curve's end, in bandwidths."""
        distance = np.linalg.norm(np.asarray(samples) - exact, axis=1) / bandwidth
        return {"median": float(np.median(distance)), "max": float(distance.max())}

    peer, steps, evaluations = scipy_sample(*wide, bandwidth, 1e-5)
    rows = {PEER: {"steps": steps, "evaluations": evaluations, "error": error(peer)}}
    for name, flow in FLOWS.items():
        samples, stats = run(flow, *args)
        rows[name] = {"steps": int(stats.num_steps), "rejected": int(stats.num_rejected)}
        if name != DEFAULT:  # it starts elsewhere: another curve
            rows[name]["error"] = error(samples)
    many = jax.random.normal(jax.random.key(6), (BATCH, *latents.shape))
    calls = {name: lambda f=flow: repeated(f, many, *args[1:]) for name, flow in FLOWS.items()}
    calls[PEER] = lambda: scipy_sample(*wide, bandwidth, 1e-5)[0]
    seconds = interleaved_medians(calls)
    for name, row in rows.items():
        row["milliseconds"] = 1e3 * seconds[name] / (1 if name == PEER else BATCH)
        row["times faster than scipy"] = rows[PEER]["milliseconds"] / row["milliseconds"]
    return rows


def posterior_accuracy(centres, log_weights, bandwidth, repeats=40):
    """Exact W2 of N flow samples to 2000 exact draws: does the solver's error show?"""
    draw = kd.ExactMixture(draws="multinomial")
    reference, _ = draw(jax.random.key(0), 2000, centres, log_weights, jnp.asarray(bandwidth))
    sampled = {}
    flows = {
        "flow default": kd.ProbabilityFlow(latents="independent"),
        "flow prior 1e-5": flow_at(1e-5, solver=diffrax.Dopri5(), latents="independent"),
        "flow matched 1e-6": kd.ProbabilityFlow(
            solver=diffrax.Dopri5(),
            stepsize_controller=kd.per_member_pid(1e-6),
            latents="independent",
        ),
        "exact mixture": draw,
    }
    for name, sampler in flows.items():
        call = eqx.filter_jit(
            lambda key, s=sampler: s(key, N, centres, log_weights, jnp.asarray(bandwidth))[0]
        )
        distances = [
            kd.metrics.wasserstein2(call(jax.random.key(100 + k)), reference)
            for k in range(repeats)
        ]
        sampled[name] = {
            "w2": float(np.mean(distances)),
            "standard error": float(np.std(distances, ddof=1) / np.sqrt(repeats)),
        }
    return sampled


def compile_times():
    """Seconds to lower and compile a whole run of 1000 cycles."""
    experiment = experiments.load("lorenz63-z")
    twin = experiment.twin(0, N, 1000, jnp.dtype(jnp.float32))
    out = {}
    for name in ("kde", "kde-mixture", "enkf", "sir"):
        analysis = experiment.filter(name, N)

        @eqx.filter_jit
        def whole(members, ys, modules):
            return kd.assimilate(jax.random.key(0), *modules, members, ys)

        modules = (experiment.dynamics, experiment.observation, analysis)
        begin = time.perf_counter()
        program = whole.lower(twin.ensemble, twin.ys, modules).compile()
        compiled = time.perf_counter()
        jax.block_until_ready(program(twin.ensemble, twin.ys, modules))
        ran = time.perf_counter() - compiled
        out[name] = {"compile seconds": compiled - begin, "run seconds": ran}
    return out


def main():
    problems = {
        3: mixture("lorenz63-z", N),
        10: mixture("lorenz96-10", N),
        20: mixture("lorenz96-20", N),
    }
    body = {
        "analysis": {f"d={d}": compare(*p) for d, p in problems.items()},
        "posterior accuracy d=3": posterior_accuracy(*problems[3]),
        "compile": compile_times(),
    }
    for title, rows in body["analysis"].items():
        for name, row in rows.items():
            print(title, name, row)
    for title in ("posterior accuracy d=3", "compile"):
        for name, row in body[title].items():
            print(title, name, row)
    save("analysis_cost", {"members": N, "tau_max": TAU_MAX}, body)


if __name__ == "__main__":
    main()
