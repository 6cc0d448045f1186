"""Noise that depends on the state: what a filter learns of it that can only simulate measurements.

    python benchmarks/accuracy/state_noise.py    writes results/state_noise.json (about 10 minutes)

One analysis each of many measurements, x ~ N(0, 1) before: the Cramer distance between the analysis
ensemble and the exact posterior, integral of (F_N - F)^2, which is known on a grid. The first seven
problems were at hand when the estimate of the density was made, the last three were not. Then a
filtering run of a stochastic volatility of 1500 days, beside a bootstrap filter of 50,000 members
that knows the density.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import cauchy, gamma, norm

import kdediff_jax as kd
from benchmarks.shared.comparison import standard_error
from benchmarks.shared.records import save

MEMBERS, TRIALS, DAYS = 200, 200, 1500
GRID = jnp.linspace(-5.0, 5.0, 4001)
FILTERS = {
    "untuned": kd.EnKPF(),
    "untuned, one covariance": kd.EnKPF(
        noise=kd.AutoNoise(density=kd.SimulatedDensity(evidence=jnp.inf))
    ),
    "paper, leave-one-out": kd.KDEDiffusion(kd.ConditionalLeaveOneOut(), sampler=kd.ExactMixture()),
    "EnKF": kd.EnKF(),
}


class Problem(NamedTuple):
    """A measurement of one coordinate.

    Attributes:
        sample: (key, x [1]) -> y [1].
        log_density: (y, x) -> log p(y | x) up to a constant, elementwise.
        seen: whether the estimate of the density was made with it at hand.
    """

    sample: Callable
    log_density: Callable
    seen: bool = True


def poisson(key, x):
    return jax.random.poisson(key, jnp.exp(1 + 0.7 * x)).astype(x.dtype)


def two_branches(key, x):
    branch, noise = jax.random.split(key)
    sign = jnp.where(jax.random.bernoulli(branch), 1.0, -1.0)
    return sign * (x + 2) + 0.3 * jax.random.normal(noise, x.shape)


def of_two_branches(y, x):
    return jnp.logaddexp(norm.logpdf(y, x + 2, 0.3), norm.logpdf(y, -x - 2, 0.3))


def rounded(key, x):
    return jnp.round(x + 0.2 * jax.random.normal(key, x.shape))


def of_rounded(y, x):
    upper, lower = norm.cdf((y + 0.5 - x) / 0.2), norm.cdf((y - 0.5 - x) / 0.2)
    return jnp.log(jnp.maximum(upper - lower, 1e-12))


def normal(mean, std):
    """Return a problem of Gaussian noise, its moments functions of x."""
    return (
        lambda key, x: mean(x) + std(x) * jax.random.normal(key, x.shape),
        lambda y, x: norm.logpdf(y, mean(x), std(x)),
    )


PROBLEMS = {
    "multiplicative": Problem(*normal(jnp.zeros_like, jnp.exp)),
    "counts": Problem(poisson, lambda y, x: y * (1 + 0.7 * x) - jnp.exp(1 + 0.7 * x)),
    "rounded": Problem(rounded, of_rounded),
    "two branches": Problem(two_branches, of_two_branches),
    "heavy-tailed volatility": Problem(
        lambda key, x: jnp.exp(x / 2) * jax.random.cauchy(key, x.shape),
        lambda y, x: cauchy.logpdf(y, scale=jnp.exp(x / 2)),
    ),
    "square, additive": Problem(*normal(jnp.square, lambda x: 0.3)),
    "linear, additive": Problem(*normal(lambda x: x, lambda x: 0.5)),
    "gamma": Problem(
        lambda key, x: jnp.exp(0.8 * x) * jax.random.gamma(key, 2.0, x.shape),
        lambda y, x: gamma.logpdf(y, 2.0, scale=jnp.exp(0.8 * x)),
        seen=False,
    ),
    "noise in the middle": Problem(
        *normal(lambda x: x, lambda x: 0.2 + jnp.exp(-2 * x**2)), seen=False
    ),
    "sine, additive": Problem(*normal(lambda x: jnp.sin(2 * x), lambda x: 0.3), seen=False),
}


class Measurement(kd.AbstractObservation):
    """A problem's simulator, and nothing else."""

    draw: Callable = eqx.field(static=True)

    def sample(self, key, x, t):
        return self.draw(key, x)


def distances(problem, scheme, pairs):
    """Return the Cramer distance of every trial, and the share of analyses that were ok."""
    observation = Measurement(problem.sample)

    def trial(key):
        truth_key, noise_key, member_key, run_key, pair_key = jax.random.split(key, 5)
        y = problem.sample(noise_key, jax.random.normal(truth_key, (1,)))
        members = jax.random.normal(member_key, (MEMBERS, 1))
        if pairs:
            keys = jax.random.split(pair_key, MEMBERS)
            simulated = jax.vmap(problem.sample)(keys, members)
            drawn, info = scheme.update(run_key, members, simulated, y)
        else:
            drawn, info = scheme(run_key, members, y, observation)
        log_posterior = norm.logpdf(GRID) + problem.log_density(y[0], GRID)
        exact = jnp.cumsum(jax.nn.softmax(log_posterior))
        found = jnp.searchsorted(jnp.sort(drawn[:, 0]), GRID) / MEMBERS
        return jnp.sum((found - exact) ** 2) * (GRID[1] - GRID[0]), info.ok

    keys = jax.random.split(jax.random.key(7), TRIALS)
    return jax.jit(lambda keys: jax.lax.map(trial, keys))(keys)


def one_analysis(name, pairs):
    """Return the mean distance of every filter, and the standard error of its difference."""
    problem, table, first = PROBLEMS[name], {}, None
    for label, scheme in FILTERS.items():
        values, ok = (np.asarray(a, float) for a in distances(problem, scheme, pairs))
        first = values if first is None else first
        table[label] = {
            "mean": float(values.mean()),
            "error of the difference": float(standard_error(values - first)),
            "not ok": float(1 - ok.mean()),
        }
        print(name, "pairs" if pairs else "simulator", label, table[label], flush=True)
    return {"problem": name, "pairs": pairs, "seen": problem.seen, **table}


class Returns(kd.AbstractLikelihood):
    """Daily returns of a log-variance x: y = exp(x / 2) e, Gaussian."""

    def sample(self, key, x, t):
        return jnp.exp(x / 2) * jax.random.normal(key, (1,))

    def log_likelihood(self, y, x, t):
        return norm.logpdf(y[0], 0, jnp.exp(x[0] / 2))


class Volatility(kd.AbstractDynamics):
    """A log-variance that returns to its mean: x' = 0.97 x + 0.2 e."""

    interval: float = 1.0

    def step(self, key, x, t):
        return 0.97 * x + 0.2 * jax.random.normal(key, x.shape)


class Simulator(kd.AbstractObservation):
    """The same returns without their density."""

    def sample(self, key, x, t):
        return Returns().sample(key, x, t)


def volatility_run():
    """Return how far from the bootstrap filter's mean every filter's is."""
    truth_key, run_key, member_key = jax.random.split(jax.random.key(11), 3)
    start = jnp.zeros(1)
    _, ys = kd.twin_experiment(truth_key, Volatility(), Returns(), start, DAYS)

    def mean(scheme, observation, members):
        ensemble = 0.8 * jax.random.normal(member_key, (members, 1))
        result = kd.assimilate(run_key, Volatility(), observation, scheme, ensemble, ys)
        return np.asarray(result.mean)[:, 0], int(np.sum(~np.asarray(result.info.ok)))

    reference, _ = mean(kd.SIR(), Returns(), 50_000)
    table = {}
    for label, scheme in FILTERS.items():
        found, failed = mean(scheme, Simulator(), MEMBERS)
        table[label] = {
            "correlation": float(np.corrcoef(found, reference)[0, 1]),
            "rmse": float(np.sqrt(np.mean((found - reference) ** 2))),
            "not ok": failed,
        }
        print("volatility", label, table[label], flush=True)
    return {"spread of the reference": float(np.std(reference)), **table}


def main():
    cases = [one_analysis(name, pairs) for name in PROBLEMS for pairs in (False, True)]
    settings = {"members": MEMBERS, "trials": TRIALS, "days": DAYS}
    save("state_noise", settings, {"cases": cases, "volatility": volatility_run()})


if __name__ == "__main__":
    main()
