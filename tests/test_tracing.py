"""What a user's class gets wrong under `jit`: told with class, method, line and cure."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd


class Own(kd.AbstractDynamics):
    interval: float = 1.0
    dt: float = 0.1
    noise: float = 0.1


class Rounds(Own):
    def step(self, key, x, t):
        for _ in range(round(self.interval / self.dt)):
            x = x + self.dt
        return x


class Sizes(Own):
    def step(self, key, x, t):
        return x + jnp.zeros(round(self.interval / self.dt)).sum()


class Branches(Own):
    def step(self, key, x, t):
        if self.noise > 0:
            x = x + self.noise
        return x


class UsesNumpy(Own):
    def step(self, key, x, t):
        return np.sin(x)


class UsesMath(Own):
    def step(self, key, x, t):
        return x * math.sin(t)


class Indexes(Own):
    def step(self, key, x, t):
        return x[x > 0]


class Decides(kd.AbstractObservation):
    def sample(self, key, x, t):
        return x if t > 0 else -x


class Hesitates(kd.EnKF):
    def condition(self, key, forecast):
        if forecast.y[0] > 0:
            forecast = forecast._replace(members=-forecast.members)
        return super().condition(key, forecast)


def folded(x):
    return np.abs(x)


def run(dynamics=None, observation=None, scheme=None):
    dynamics = dynamics or kd.RandomWalk()
    observation = observation or kd.GaussianObservation(kd.Identity(), 1.0)
    arguments = dynamics, observation, scheme or kd.EnKF(), jnp.ones((4, 2)), jnp.zeros((2, 2))
    return kd.assimilate(jax.random.key(0), *arguments)


STATIC = r"eqx.field\(static=True\)"
TRACED = {
    "round": (lambda: run(Rounds()), "Rounds.step", "for _ in range", STATIC),
    "a size": (lambda: run(Sizes()), "Sizes.step", r"jnp.zeros\(round", STATIC),
    "if": (lambda: run(Branches()), "Branches.step", "if self.noise > 0:", f"jnp.where.*{STATIC}"),
    "numpy": (lambda: run(UsesNumpy()), "UsesNumpy.step", r"np.sin\(x\)", r"jax.numpy"),
    "math": (lambda: run(UsesMath()), "UsesMath.step", r"math.sin\(t\)", STATIC),
    "index": (lambda: run(Indexes()), "Indexes.step", r"x\[x > 0\]", "jnp.where"),
    "sample": (lambda: run(None, Decides()), "Decides.sample", "if t > 0", "jnp.where"),
    "operator": (
        lambda: run(None, kd.GaussianObservation(folded, 1.0)), "folded", "np.abs", "jax.numpy"
    ),
    "twin": (
        lambda: kd.twin_experiment(jax.random.key(0), Branches(), Decides(), jnp.ones(2), 2),
        "Branches.step", "if self.noise > 0:", "jnp.where",
    ),
    "cycle": (
        lambda: kd.cycle(
            kd.init(jax.random.key(0), jnp.ones((4, 2))), Branches(), Decides(), kd.EnKF(),
            jnp.zeros(2),
        ),
        "Branches.step", "if self.noise > 0:", "jnp.where",
    ),
    "pairs": (
        lambda: Hesitates().update(
            jax.random.key(0), jnp.eye(4, 2), jnp.eye(4, 1), jnp.ones(1)
        ),
        "Hesitates.condition", r"if forecast.y\[0\] > 0", "jnp.where",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TRACED)
def test_class_method_line_and_cure_are_named(case):
    do, name, line, cure = TRACED[case]
    with pytest.raises(
        TypeError, match=rf"^{name}, line \d+ of .*test_tracing.py: .*{line}.*{cure}"
    ):
        do()


def test_the_cures_work():
    class Rounded(Own):
        interval: float = eqx.field(static=True, default=1.0)
        dt: float = eqx.field(static=True, default=0.25)

        def step(self, key, x, t):
            for _ in range(round(self.interval / self.dt)):
                x = x + self.dt
            return x

    class Masked(Own):
        def step(self, key, x, t):
            return jnp.where(self.noise > 0, x + jnp.sin(self.noise), x)

    def save(output):
        return output.forecast

    def forecast(model):
        arguments = kd.GaussianObservation(kd.Identity(), 1.0), kd.EnKF(), jnp.ones((4, 2))
        ys = jnp.full((2, 2), jnp.nan)
        return kd.assimilate(jax.random.key(0), model, *arguments, ys, save=save).saved[-1]

    np.testing.assert_allclose(forecast(Rounded()), 3.0)
    np.testing.assert_allclose(forecast(Masked()), 1 + 2 * np.sin(0.1), rtol=1e-6)


class Plain:
    """A model that is no `eqx.Module`: it may change in place."""

    def __init__(self, interval=1.0):
        self.interval = interval

    def step(self, key, x, t):
        return x + self.interval

    def sample(self, key, x, t):
        return self.interval * x

    def __call__(self, x):
        return self.interval * x


class Compared(Plain):
    __hash__ = None

    def __eq__(self, other):
        return True


class Holds(Own):
    what: object = eqx.field(static=True, default=None)

    def step(self, key, x, t):
        return x


def gaussian(operator):
    return kd.GaussianObservation(operator, 1.0)


MUTABLE = {
    "dynamics": (lambda: run(Plain()), "dynamics", "Plain"),
    "unhashable": (lambda: run(Compared()), "dynamics", "Compared"),
    "observation": (lambda: run(None, Plain()), "observation", "Plain"),
    "analysis": (lambda: run(None, None, Plain()), "analysis", "Plain"),
    "operator": (lambda: run(None, gaussian(Plain())), "observation.operator", "Plain"),
    "method": (lambda: run(None, gaussian(Plain().__call__)), "observation.operator", "Plain"),
    "static": (lambda: run(Holds(what=Plain())), "dynamics.what", "Plain"),
    "list": (lambda: run(Holds(what=[1.0])), "dynamics.what", "list"),
    "dict": (lambda: run(Holds(what={"a": 1.0})), "dynamics.what", "dict"),
}


@pytest.mark.parametrize("case", MUTABLE)
def test_what_may_change_in_place_is_refused(case):
    do, place, kind = MUTABLE[case]
    with pytest.raises(TypeError, match=f"^{place}: expected .*, got {kind}"):
        do()


@dataclasses.dataclass(frozen=True)
class Scale:
    by: float

    def __call__(self, x):
        return self.by * x


def test_what_cannot_change_is_taken():
    """By value, so that another value is another program and another answer."""
    operators = [Scale(2.0), Scale(3.0), jax.jit(jnp.tanh), jax.nn.relu, abs]
    means = [float(run(None, gaussian(each)).mean[-1, 0]) for each in operators]
    assert means[0] != means[1] and np.isfinite(means).all()
    assert run(Holds(what=(1.0, "a"))).info.ok.all()
