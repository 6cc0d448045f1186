"""What a user gets wrong: named at trace time, or by `raise_if_failed` after the run."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

NAN, INF = float("nan"), float("inf")


def kde(sampler=None, state_bandwidth=0.5, obs_bandwidth=0.5):
    return kd.KDEDiffusion(state_bandwidth, obs_bandwidth, sampler=sampler or kd.ExactMixture())


def first(x):
    return x[:1]


def root(x):
    """Measure something that a state may not have: the square root of a negative number is NaN."""
    return jnp.stack([x[0], jnp.sqrt(x[1])])


class BlackBox(kd.AbstractObservation):
    def sample(self, key, x, t):
        return x[:1]


class Scalar(kd.AbstractObservation):
    def sample(self, key, x, t):
        return x[0]


class Returns(kd.AbstractObservation):
    """Measure what a function makes of the state."""

    of: Any

    def sample(self, key, x, t):
        return self.of(x)


def whole(x):
    return jnp.round(x).astype(int)


def nothing(x):
    return None


def pair(x):
    return x[0], x[1]


def empty(x):
    return x[:0]


class Shrinks(kd.AbstractDynamics):
    interval: float = 1.0

    def step(self, key, x, t):
        return x[:1]


def observation(std=0.5, of=first):
    return kd.GaussianObservation(of, std)


def run(dynamics=None, obs=None, analysis=None, ensemble=None, ys=None, **kwargs):
    defaults = kd.RandomWalk(), observation(), kd.EnKF(), jnp.ones((4, 2)), jnp.ones((3, 1))
    given = dynamics, obs, analysis, ensemble, ys
    args = [d if g is None else g for g, d in zip(given, defaults, strict=True)]
    return kd.assimilate(jax.random.key(0), *args, **kwargs)


def call(analysis, obs=None, forecast=None, y=None):
    forecast = jnp.ones((4, 2)) if forecast is None else forecast
    y = jnp.ones(1) if y is None else y
    return analysis(jax.random.key(0), forecast, y, obs or observation())


def update(forecast=(4, 2), predicted=(4, 1), y=(1,), **kwargs):
    return kde(**kwargs).update(
        jax.random.key(0), jnp.ones(forecast), jnp.ones(predicted), jnp.ones(y)
    )


def flow(**kwargs):
    return kd.ProbabilityFlow(schedule=kd.VarianceExploding(**kwargs))


def twin(dynamics, x0, num_cycles=2, obs=None):
    return kd.twin_experiment(jax.random.key(0), dynamics, obs or BlackBox(), x0, num_cycles)


# what is done; the argument, what was expected, what came
SHAPES = {
    "ensemble 1-d": (lambda: run(ensemble=jnp.ones(4)), "ensemble", "(members, d)", "(4,)"),
    "ensemble empty": (lambda: run(ensemble=jnp.ones((0, 2))), "ensemble", "least 2", "0"),
    "ensemble of one": (lambda: run(ensemble=jnp.ones((1, 2))), "ensemble", "least 2", "1"),
    "no coordinate": (lambda: run(ensemble=jnp.ones((4, 0))), "ensemble", "coordinate", "(4, 0)"),
    "ys 1-d": (lambda: run(ys=jnp.ones(3)), "ys", "(cycles, m)", "(3,)"),
    "y too long, enkf": (lambda: run(ys=jnp.ones((3, 2))), "y", "(1,)", "(2,)"),
    "y too long, kde": (lambda: call(kde(), y=jnp.ones(2)), "y", "(1,)", "(2,)"),
    "y too short, sir": (lambda: call(kd.SIR(), observation(of=root)), "y", "(2,)", "(1,)"),
    "y 0-d": (lambda: call(kd.SIR(), y=jnp.ones(())), "y", "(m,)", "()"),
    "forecast of one": (lambda: call(kde(), forecast=jnp.ones((1, 2))), "forecast", "least 2", "1"),
    "predicted rows": (lambda: update(predicted=(3, 1)), "predicted", "(4)", "3 rows"),
    "predicted 1-d": (lambda: update(predicted=(4,)), "predicted", "(members, d)", "(4,)"),
    "update's y": (lambda: update(y=(2,)), "y", "(1,)", "(2,)"),
    "std": (lambda: call(kd.EnKF(), observation([1.0] * 3)), "std", "(1,)", "(3,)"),
    "scalar sample": (lambda: call(kde(), Scalar()), "observation", "(m,)", "()"),
    "no components": (lambda: run(ys=jnp.ones((3, 0))), "ys", "m >= 1", "(3, 0)"),
    "no component": (lambda: call(kd.SIR(), y=jnp.ones(0)), "y", "at least one", "(0,)"),
    "empty sample": (lambda: call(kde(), Returns(empty)), "observation", "m >= 1", "(0,)"),
    "empty operator": (lambda: run(obs=observation(of=empty)), "operator", "m >= 1", "(0,)"),
    "twin's sample": (
        *(lambda: twin(kd.RandomWalk(), jnp.ones(2), obs=Returns(empty)), "observation"),
        *("m >= 1", "(0,)"),
    ),
    "step": (lambda: run(Shrinks()), "dynamics", "[2]", "[1]"),
    "another model": (lambda: run(kd.Lorenz63()), "x", "(3,)", "(2,)"),
    "x0": (lambda: twin(kd.RandomWalk(), jnp.ones((1, 2))), "x0", "(d,)", "(1, 2)"),
    "indices": (lambda: kd.Select((5,))(jnp.ones(2)), "indices", "below 2", "5"),
    "h_x": (lambda: update(state_bandwidth=[1.0] * 3), "state_bandwidth", "(2,)", "(3,)"),
}
KINDS = {
    "integers": (lambda: run(ensemble=jnp.ones((4, 2), int)), "ensemble", "floating", "int"),
    "integer ys": (lambda: run(ys=jnp.ones((3, 1), int)), "ys", "floating", "int"),
    "text": (lambda: run(ys="0.1"), "ys", "floating", "str"),
    "texts": (lambda: run(ys=np.array([["0.1"]])), "ys", "expected numbers", "U3"),
    "dynamics": (lambda: run(kd.Lorenz63), "dynamics", "`step`", "Lorenz63"),
    "observation": (lambda: run(obs=BlackBox), "observation", "`sample`", "BlackBox"),
    "observation alone": (lambda: call(kde(), BlackBox), "observation", "`sample`", "BlackBox"),
    "analysis": (lambda: run(analysis=kd.EnKF), "analysis", "object", "EnKF"),
    "analysis name": (lambda: run(analysis="EnKF"), "analysis", "object", "EnKF"),
    "save": (lambda: run(save="mean"), "save", "function", "mean"),
    "sampler": (lambda: kde(kd.ExactMixture), "sampler", "a sampler", "ExactMixture"),
    "rule": (lambda: kde(state_bandwidth=kd.Scott), "state_bandwidth", "number", "Scott"),
    "operator": (lambda: observation(of=kd.Select), "operator", "callable", "Select"),
    "twin": (lambda: twin(kd.Lorenz96, jnp.ones(5)), "dynamics", "`step`", "Lorenz96"),
    "num_cycles": (lambda: twin(kd.RandomWalk(), jnp.ones(2), 2.5), "num_cycles", "int", "float"),
    "sir": (lambda: call(kd.SIR(), BlackBox()), "observation", "log_likelihood", "BlackBox"),
    "enkf": (lambda: call(kd.EnKF(noise="known"), BlackBox()), "observation", "mean", "BlackBox"),
    "integers measured": (lambda: call(kde(), Returns(whole)), "observation", "floating", "int"),
    "nothing measured": (lambda: call(kde(), Returns(nothing)), "observation", "vector", "None"),
    "a tuple measured": (lambda: call(kde(), Returns(pair)), "observation", "vector", "tuple"),
    "integer operator": (lambda: run(obs=observation(of=whole)), "operator", "floating", "int"),
    "no operator": (lambda: run(obs=observation(of=nothing)), "operator", "vector", "None"),
    "tuple operator": (
        *(lambda: call(kd.SIR(), observation(of=pair)), "operator", "vector", "tuple"),
    ),
    "boolean": (lambda: kde(obs_bandwidth=True), "obs_bandwidth", "number", "True"),
}
VALUES = {
    "ys": (lambda: run(ys=jnp.asarray([[1.0], [INF], [1.0]])), "ys", "finite", "row 1"),
    "zero h_x": (lambda: kde(state_bandwidth=0.0), "state_bandwidth", "positive", "0.0"),
    "negative h_y": (lambda: kde(obs_bandwidth=[1, -2]), "obs_bandwidth", "positive", "-2.0"),
    "NaN h_x": (lambda: kde(state_bandwidth=NAN), "state_bandwidth", "finite", "nan"),
    "factor": (lambda: kd.Silverman(-1.0), "factor", "positive", "-1.0"),
    "std": (lambda: observation(0.0), "std", "positive", "0.0"),
    "inflation": (lambda: kd.EnKF(inflation=0.0), "inflation", "positive", "0.0"),
    "jitter": (lambda: kd.SIR(jitter=-0.5), "jitter", "not negative", "-0.5"),
    "noise_std": (lambda: kd.Lorenz63(noise_std=-1), "noise_std", "not negative", "-1.0"),
    "interval": (lambda: kd.Lorenz96(interval=0), "interval", "positive", "0.0"),
    "substeps": (lambda: kd.Lorenz63(substeps=0), "substeps", "least 1", "0"),
    "num_cycles": (lambda: twin(kd.RandomWalk(), jnp.ones(2), 0), "num_cycles", "least 1", "0"),
    "tau_max below h_x": (lambda: update(sampler=flow(tau_max=0.25)), "tau_max", "0.5", "0.25"),
    "relative tau_max": (lambda: flow(tau_max=0.5, relative=True), "tau_max", "more than 1", "0.5"),
    # options: the nearest one is suggested
    "scaling": (
        *(lambda: kd.KDEDiffusion(scaling="whitend"), "scaling"),
        *("'standardised'", "mean 'whitened'"),
    ),
    "start": (lambda: kd.ProbabilityFlow(start="priors"), "start", "'matched'", "mean 'prior'"),
    "latents": (lambda: kd.ProbabilityFlow(latents="quas"), "latents", "'quasi'", "mean 'quasi'"),
    "spacing": (lambda: flow(spacing="linera"), "spacing", "'log'", "mean 'linear'"),
    "noise": (lambda: kd.EnKF(noise="know"), "noise", "'auto'", "mean 'known'"),
    "resampling": (
        *(lambda: kd.SIR(resampling="sistematic"), "resampling"),
        *("'stratified'", "mean 'systematic'"),
    ),
    "method": (lambda: kd.Lorenz96(method="rk5"), "method", "'euler'", "mean 'rk4'"),
    "something else": (lambda: kd.EnKF(noise=3), "noise", "'known'", "3"),
}


@pytest.mark.parametrize(
    ("error", "case"),
    [(ValueError, f"SHAPES/{n}") for n in SHAPES]
    + [(TypeError, f"KINDS/{n}") for n in KINDS]
    + [(ValueError, f"VALUES/{n}") for n in VALUES],
)
def test_error_names_argument_expectation_and_what_came(error, case):
    table, _, entry = case.partition("/")
    do, name, expected, got = globals()[table][entry]
    with pytest.raises(error) as caught:
        do()
    wanted, _, came = str(caught.value).partition("got")
    assert re.match(rf"{name}\b", wanted) and expected in wanted and got in came, caught.value


class Explodes(kd.AbstractDynamics):
    interval: float = 1.0

    def step(self, key, x, t):
        # the third step (t = 2) loses every member but those near 1
        return jnp.where((t > 1.5) & (x > 1.5), jnp.nan, x)


def test_raise_if_failed_names_cycle_and_reason():
    ensemble = jnp.asarray([[1.0], [2.0], [3.0], [4.0]])
    result = run(Explodes(), None, kd.EnKF(), ensemble, jnp.full((4, 1), NAN))
    np.testing.assert_array_equal(result.info.ok, [True, True, False, False])
    with pytest.raises(
        RuntimeError,
        match=r"cycle 2 \(counted from 0\).*3 of 4 members.*not finite.*fewer than two",
    ):
        result.raise_if_failed()
    # batched: the first failed cycle of the first failed run
    ok = jnp.stack([jnp.ones(4, bool), result.info.ok])
    info = jax.tree.map(lambda x: jnp.stack([x, x]), result.info)._replace(ok=ok)
    batched = kd.FilterResult(None, info, result.state)
    with pytest.raises(RuntimeError, match=r"cycle 2 of run \(1,\)"):
        batched.raise_if_failed()
    good = kd.FilterResult(None, result.info._replace(ok=jnp.ones(4, bool)), result.state)
    assert good.raise_if_failed() is good


def test_raise_if_failed_names_a_solve_out_of_steps():
    sampler = kd.ProbabilityFlow(max_steps=2, latents="independent")
    result = run(analysis=kde(sampler), ensemble=jax.random.normal(jax.random.key(2), (8, 2)))
    with pytest.raises(RuntimeError, match=r"cycle 0 .*max_steps"):
        result.raise_if_failed()


def test_raise_if_failed_names_a_traced_infinity():
    result = jax.jit(lambda ys: run(ys=ys, ensemble=jnp.eye(4, 2)))(jnp.asarray([[1.0], [INF]]))
    with pytest.raises(RuntimeError, match=r"cycle 1 .*measurement is infinite"):
        result.raise_if_failed()
