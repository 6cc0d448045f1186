"""Ranges in steps of a kilometre: what filters make of a sensor that can only be simulated.

    python benchmarks/accuracy/quantised.py    writes results/quantised.json (about 5 minutes)

The experiment `quantised-tracking`: 100 members, other seeds for choosing than for scoring. The
density of the measurements is known, so that a SIR of very many members is the reference; the
filters of the paper and of this package are given the simulator alone. The EnKF gets what an
engineer would give it, the exact range with a variance of std^2 + step^2 / 12, saturated readings
left out or not, besides the simulator; the best of its settings and of SIR's is scored.
"""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from benchmarks.shared.comparison import standard_error
from benchmarks.shared.records import save
from kdediff_jax import experiments, metrics
from kdediff_jax.experiments.settings.quantised_tracking import ranges

EXPERIMENT = experiments.load("quantised-tracking")
MEMBERS, PARTICLES, KEPT = 100, 20_000, 500
TUNING, SCORING = tuple(range(100, 110)), tuple(range(200, 210))  # as many: one program
INFLATIONS, JITTERS = (1.0, 1.02, 1.05, 1.1, 1.2), (0.0, 0.2, 0.5, 1.0, 1.5)
RANGE = kd.GaussianObservation(ranges, (0.2**2 + 1 / 12) ** 0.5)
SATURATED = 10.0


class Simulator(kd.AbstractObservation):
    """The readings without their density."""

    wrapped: kd.AbstractObservation

    def sample(self, key, x, t):
        return self.wrapped.sample(key, x, t)


SIMULATOR = Simulator(EXPERIMENT.observation)


def save_some(output):
    return output.analysis[:KEPT], output.info.mean


@eqx.filter_jit
def scored(scheme, observation, seeds, members, drop):
    """Return the scores of every seed, over the cycles after burn-in."""
    first = EXPERIMENT.burn_in

    def run(seed):
        twin = EXPERIMENT.twin(seed, members, EXPERIMENT.num_cycles, jnp.float32)
        ys = jnp.where(drop & (twin.ys >= SATURATED), jnp.nan, twin.ys)
        result = kd.assimilate(
            jax.random.fold_in(jax.random.key(seed), 2), EXPERIMENT.dynamics, observation, scheme,
            twin.ensemble, ys, save=save_some,
        )  # fmt: skip
        (ensembles, mean), truth = result.saved, twin.truth[first:]
        gaps = mean[first:, :2] - truth[:, :2]
        return {
            "energy score": jnp.mean(metrics.energy_score(ensembles[first:], truth)),
            "position error": jnp.mean(jnp.sqrt(jnp.sum(gaps**2, axis=1))),
            "coverage": jnp.mean(metrics.coverage(ensembles[first:], truth)),
            "not ok": jnp.sum(~result.info.ok).astype(jnp.float32),
        }

    return jax.vmap(run)(seeds)


def found(scheme, observation, seeds, members=MEMBERS, drop=False):
    values = scored(scheme, observation, jnp.asarray(seeds), members, jnp.asarray(drop))
    return {name: np.asarray(each, float) for name, each in values.items()}


def tuned(make, settings, observation, drop=False):
    """Return the scores of the setting that is best on the tuning seeds, and the setting."""
    means = [
        found(make(value), observation, TUNING, drop=drop)["energy score"].mean()
        for value in settings
    ]
    best = settings[int(np.nanargmin(means))]
    return found(make(best), observation, SCORING, drop=drop), best


def inflated(factor, noise="auto"):
    return kd.EnKF(inflation=factor, noise=noise)


def jittered(size):
    return kd.SIR(jitter=size)


RIVALS = {
    "SIR, density": (jittered, JITTERS, EXPERIMENT.observation, False),
    "EnKF, simulator": (inflated, INFLATIONS, SIMULATOR, False),
    "EnKF, pairs": (functools.partial(inflated, noise="pairs"), INFLATIONS, SIMULATOR, False),
    "EnKF, range": (inflated, INFLATIONS, RANGE, False),
    "EnKF, range, no saturated": (inflated, INFLATIONS, RANGE, True),
}
UNTUNED = {
    "EnKPF, simulator": (kd.EnKPF(), SIMULATOR),
    "EnKPF, density": (kd.EnKPF(), EXPERIMENT.observation),
    "paper, simulator": (
        kd.KDEDiffusion(scaling="standardised", sampler=kd.ExactMixture()),
        SIMULATOR,
    ),
}


def summary(name, values, first, setting=None):
    """Return means and standard errors, and those of the differences from the first filter."""
    gap = values["energy score"] - first["energy score"]
    row = {"filter": name} if setting is None else {"filter": name, "setting": setting}
    row |= {k: [float(v.mean()), float(standard_error(v))] for k, v in values.items()}
    row["difference"] = [float(gap.mean()), float(standard_error(gap)) if gap.any() else 0.0]
    print(row, flush=True)
    return row


def main():
    rows, first = [], None
    for name, (scheme, observation) in UNTUNED.items():
        values = found(scheme, observation, SCORING)
        first = values if first is None else first
        rows.append(summary(name, values, first))
    for name, (make, settings, observation, drop) in RIVALS.items():
        values, best = tuned(make, settings, observation, drop)
        rows.append(summary(name, values, first, best))
    many = kd.SIR(resampling="multinomial")  # its first members are a random subset
    reference = found(many, EXPERIMENT.observation, SCORING, PARTICLES)
    rows.append(summary("reference", reference, first))
    settings = {"members": MEMBERS, "particles": PARTICLES, "seeds": SCORING, "tuning": TUNING}
    save("quantised", settings, {"filters": rows})


if __name__ == "__main__":
    main()
