"""Functions of all sorts, which a checkpoint tells from each other."""

from __future__ import annotations

import functools

import host_lorenz63
import numpy as np


def made(rate=0.5, table=(1.0, 2.0), names=frozenset({"a", "b", "c"}), default=3):
    """Return a function that reads all sorts of things from outside."""
    matrix = np.diag(table)

    def step(rng, X, t, interval, power=default):
        return [helper(x, rate) for x in X @ matrix if "a" in names] or X**power

    return step


def helper(x, rate):
    return host_lorenz63.integrate(x, rate)


class Model:
    SHIFT = 1.0

    def __init__(self, rate):
        self.rate, self.again = rate, self  # a circle

    def __call__(self, rng, X, t, interval):
        return self.rate * X + self.SHIFT

    def step(self, rng, X, t, interval):
        return self.rate * X


class OtherModel(Model):
    SHIFT = 2.0


def fact(rng, x, t, interval):
    return x if t <= 0 else fact(rng, x, t - 1, interval)


def compiled(source):
    space = {"np": np}
    exec(source, space)
    return space["f"]


SAME = "def f(rng, X, t, interval):\n    return np.exp(-LAMBDA * X)\nLAMBDA = {}\ng = {}"
FUNCTIONS = {
    "a function": lambda: made(),
    "another number": lambda: made(rate=0.6),
    "another array": lambda: made(table=(1.0, 2.5)),
    "another set": lambda: made(names=frozenset({"a", "b", "d"})),
    "another default": lambda: made(default=4),
    "an object": lambda: Model(0.5),
    "another object": lambda: Model(0.6),
    "another class": lambda: OtherModel(0.5),
    "a method": lambda: Model(0.5).step,
    "another's method": lambda: Model(0.6).step,
    "a partial": lambda: functools.partial(made(), power=2),
    "another partial": lambda: functools.partial(made(), power=3),
    "one that calls itself": lambda: fact,
    "a global": lambda: compiled(SAME.format(0.3, 1)),
    "another global": lambda: compiled(SAME.format(0.4, 1)),
    "NumPy's": lambda: np.add,
}
