"""State and parameters together: is a parameter found from a wrong start, and honestly?

python benchmarks/accuracy/parameters.py           writes results/parameters.json (about 15 minutes)
python benchmarks/accuracy/parameters.py NAME ..   some problems, writes nothing

The filter starts two standard deviations off: its first guess and spread are the problem's, the
truth has another value in all 20 runs (seeds 300 to 319), which differ in everything else. A
parameter walks by the standard deviation given per interval, or is constant. Scored in the second
half of the run: the bias is the mean over runs of the estimate less the truth, beside the mean
spread of the members; coverage is how often the 90 % interval of the members holds the truth, over
runs and cycles, and at the last cycle alone how many runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.comparison import standard_error
from benchmarks.shared.records import save
from kdediff_jax.sweeping import use_every_core

SEEDS = tuple(range(300, 320))  # the walks were chosen on others
SPIN_UP = 100  # cycles
SITES = np.arange(40.0)


class Problem(NamedTuple):
    """A model with one uncertain parameter.

    Attributes:
        model: with the true value.
        name: of the parameter.
        guess: first guess.
        std: of the first members.
        walks: standard deviations of the artificial evolution per interval.
        size: number of coordinates of the state.
        members, cycles: of a run.
        observation: what is measured.
        filters: by name, of the augmented vector.
        centre: around which the truth starts, a spin-up before the run.
    """

    model: kd.AbstractDynamics
    name: str
    guess: float
    std: float
    walks: tuple[float, ...]
    size: int
    members: int
    cycles: int
    observation: kd.AbstractObservation
    filters: dict[str, Callable[[kd.Augmentation], kd.AbstractAnalysis]]
    centre: float


def _ring(where):
    place = kd.Localisation(SITES, SITES[::2], 4.0, period=40.0)
    return where.localisation(place)


GLOBAL = {
    "EnKPF": lambda where: kd.EnKPF(),
    "EnKPF(kalman_share=1)": lambda where: kd.EnKPF(kalman_share=1.0),
    "EnKF": lambda where: kd.EnKF(inflation=kd.SamplingInflation()),
    "ETKF": lambda where: kd.ETKF(inflation=kd.SamplingInflation()),
}
LOCAL = {
    "LEnKPF": lambda where: kd.LEnKPF(_ring(where)),
    "LEnKPF, Liu and West": lambda where: kd.LiuWest(kd.LEnKPF(_ring(where)), 1),
    "LETKF": lambda where: kd.LETKF(_ring(where)),
}
PROBLEMS = {
    "lorenz63, rho": Problem(
        kd.Lorenz63(rho=28.0, interval=0.1), "rho", 24.0, 2.0, (0.0, 0.03), 3, 100, 200,
        kd.GaussianObservation(kd.Identity(), 2.0), GLOBAL, 1.0,
    ),
    "lorenz63, beta": Problem(
        kd.Lorenz63(beta=8 / 3, interval=0.1), "beta", 2.0, 0.333, (0.0,), 3, 100, 200,
        kd.GaussianObservation(kd.Identity(), 2.0), GLOBAL, 1.0,
    ),
    "lorenz96-40, forcing": Problem(
        kd.Lorenz96(), "forcing", 6.0, 1.0, (0.0, 0.03), 40, 40, 100,
        kd.GaussianObservation(kd.Select(range(0, 40, 2)), 1.0), LOCAL, 6.0,
    ),
}  # fmt: skip


def run(problem, analysis, cycles, seed, walk):
    """Return the parameter's members [t n], their truth's error of the state, and failed cycles."""
    parameter = kd.Parameter(problem.guess, problem.std, kd.Positive(), walk_std=walk)
    where = kd.Augmentation({problem.name: parameter})
    start, twin, draw, filtering = jax.random.split(jax.random.key(seed), 4)
    x0 = problem.centre + jax.random.normal(start, (problem.size,))
    spun, _ = kd.twin_experiment(start, problem.model, problem.observation, x0, SPIN_UP)
    truth, ys = kd.twin_experiment(twin, problem.model, problem.observation, spun[-1], cycles)
    state_key, parameter_key = jax.random.split(draw)
    members = spun[-1:] + jax.random.normal(state_key, (problem.members, problem.size))
    result = kd.assimilate(
        filtering, where.dynamics(problem.model), where.observation(problem.observation),
        analysis(where), where.ensemble(parameter_key, members), ys,
        save=lambda output: where.split(output.analysis).parameters[problem.name],
    )  # fmt: skip
    error = kd.metrics.rmse(where.split(result.mean).state, truth)
    return {"members": result.saved, "rmse": error, "failed": jnp.sum(~result.info.ok)}


def measure(problem, label, seeds=SEEDS, cycles=None):
    """Return the scores of one filter, by walk."""
    cycles = cycles or problem.cycles
    value = float(getattr(problem.model, problem.name))
    found = kd.sweep(
        lambda point: run(problem, problem.filters[label], cycles, point["seed"], point["walk"]),
        {"walk": problem.walks, "seed": seeds},
    ).values
    return {
        f"{walk:g}": scores(*(found[name][k] for name in ("members", "rmse", "failed")), value)
        for k, walk in enumerate(problem.walks)
    }


def scores(members, rmse, failed, value):
    """Return the scores of runs [s t n] whose parameter has a value, in the second half."""
    half = members.shape[1] // 2
    late = members[:, half:]
    mean, spread = late.mean(axis=2), late.std(axis=2, ddof=1)
    low, high = np.quantile(late, [0.05, 0.95], axis=2)
    inside = (low <= value) & (value <= high)
    bias = (mean - value).mean(axis=1)
    return {
        "bias": float(bias.mean()),
        "its standard error": float(standard_error(bias)) if len(bias) > 1 else None,
        "spread": float(spread.mean()),
        "rmse": float(np.sqrt(((mean - value) ** 2).mean())),
        "worst last error over spread": float((abs(mean - value) / spread)[:, -1].max()),
        "coverage": float(inside.mean()),
        "last inside": int(inside[:, -1].sum()),
        "runs": len(members),
        "rmse of the state": float(rmse[:, half:].mean()),
        "failed cycles": int(failed.sum()),
    }


def main(names):
    """Measure every problem."""
    body = {}
    for name in names or PROBLEMS:
        problem = PROBLEMS[name]
        body[name] = {
            "truth": float(getattr(problem.model, problem.name)),
            **{k: getattr(problem, k) for k in ("guess", "std", "members", "cycles")},
            "filters": {},
        }
        for label in problem.filters:
            body[name]["filters"][label] = measure(problem, label)
            for walk, row in body[name]["filters"][label].items():
                print(name, label, walk, row, flush=True)
    settings = {"seeds": SEEDS}
    save("parameters", settings, {"problems": body}, partial=bool(names))


if __name__ == "__main__":
    use_every_core()
    main(sys.argv[1:])
