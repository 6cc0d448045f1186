"""Every scheme of the package, on a problem of its size: a new one is tested by being listed here.

`SCHEMES` feeds `analysis/test_protocol.py` and `test_protocol_calls.py`, and tests of cycles,
diagnosis, compilation, random keys and properties (`grep -l schemes`). A builder gets a `Problem`,
an array pytree, so that one compiled program of a scheme (`analysed`) serves every test: other
units, masks and missing components are other numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd

MEMBERS = 24


class PartlyLinear(eqx.Module):
    """A matrix, its component 1 not a number where coordinate 0 is above a limit."""

    matrix: Any
    limit: Any

    def __call__(self, x):
        """Return the prediction."""
        h = kd.Linear(self.matrix)(x)
        return h.at[1].set(jnp.where(x[0] > jnp.asarray(self.limit, x.dtype), jnp.nan, h[1]))


class Problem(NamedTuple):
    """A linear measurement of the state on a line, coordinate j at j, component k at 2 k.

    Attributes:
        matrix, std: of the Gaussian measurement.
        state_units, obs_units: of each coordinate and component, for bandwidths that are numbers.
        radius: of the localisation.
        limit: of coordinate 0, above which component 1 cannot be predicted.
    """

    matrix: Any
    std: Any
    state_units: Any
    obs_units: Any
    radius: Any
    limit: Any = np.array(np.inf)

    @property
    def observation(self):
        return kd.GaussianObservation(PartlyLinear(self.matrix, self.limit), self.std)

    @property
    def localisation(self):
        m, d = self.matrix.shape
        return kd.Localisation(np.arange(d, dtype=float), 2.0 * np.arange(m), self.radius)

    def scaled(self, state, obs):
        """Return the same in other units: a coordinate x is given as `state` x, y as `obs` y."""
        return self._replace(
            matrix=obs[:, None] * self.matrix / state,
            std=obs * self.std,
            state_units=state * self.state_units,
            obs_units=obs * self.obs_units,
        )


class Scheme(NamedTuple):
    """How a scheme is built, and what may be asked of it.

    Attributes:
        build: of a problem.
        localised: it is tried on eight coordinates, else on three.
        deterministic: the random key does not matter.
        copies: the stand-in of a masked member counts as any member, as in a scheme without
            weights whose R is known; else it may weigh nothing, or have simulated measurements of
            its own.
        smooth: nothing is chosen or bracketed, so that gradients are those of differences.
        turned: its draws follow principal axes of the state's own units, so that other units change
            the draws, though not their law.
    """

    build: Callable[[Problem], kd.AbstractAnalysis]
    localised: bool = False
    deterministic: bool = False
    copies: bool = False
    smooth: bool = False
    turned: bool = False


def _fixed(sampler=None):
    def build(p):
        return kd.KDEDiffusion(0.4 * p.state_units, 0.6 * p.obs_units, sampler=sampler)

    return build


def _enkf(noise):
    return lambda p: kd.EnKF(inflation=1.05, noise=noise)


SCHEMES = {
    "enkpf": Scheme(lambda p: kd.EnKPF()),
    "enkpf, share 0": Scheme(lambda p: kd.EnKPF(kalman_share=0.0)),
    "liu-west, enkf": Scheme(lambda p: kd.LiuWest(kd.EnKF(inflation=1.05), 1), smooth=True),
    "lenkpf": Scheme(lambda p: kd.LEnKPF(p.localisation), localised=True),
    "enkf": Scheme(_enkf("auto"), copies=True, smooth=True),
    "enkf, sampled": Scheme(_enkf("sampled")),
    "enkf, pairs": Scheme(_enkf("pairs"), smooth=True),
    "etkf": Scheme(lambda p: kd.ETKF(), deterministic=True, copies=True, smooth=True),
    "letkf": Scheme(
        lambda p: kd.LETKF(p.localisation),
        localised=True, deterministic=True, copies=True, smooth=True,
    ),
    "sir": Scheme(lambda p: kd.SIR(jitter=0.5), turned=True),
    "kde": Scheme(lambda p: kd.KDEDiffusion()),
    "kde, flow": Scheme(_fixed()),
    "kde, mixture": Scheme(_fixed(kd.ExactMixture()), smooth=True, turned=True),
    "kde, sde": Scheme(_fixed(kd.ReverseSDE(num_steps=20))),
    "kde, whitened": Scheme(lambda p: kd.KDEDiffusion(0.4, 0.6, scaling="whitened")),
}  # fmt: skip


def size(name):
    """Return (d, m) of the problem that a scheme is tried on."""
    return (8, 4) if SCHEMES[name].localised else (3, 2)


def problem(name):
    """Return the problem that a scheme is tried on, in NumPy."""
    d, m = size(name)
    if SCHEMES[name].localised:
        matrix, std = np.eye(d)[::2], np.full(m, 0.5)
    else:
        matrix, std = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]]), np.array([0.7, 0.4])
    return Problem(matrix, std, np.ones(d), np.ones(m), np.array(1.0))


def first_of_each_class():
    """Return the first name of every class of schemes, for what settings cannot change."""
    classes = {type(scheme.build(problem(name))): name for name, scheme in [*SCHEMES.items()][::-1]}
    return [*classes.values()][::-1]


def data(name):
    """Return a forecast with correlated coordinates, away from the origin, and a measurement."""
    d, m = size(name)
    rng = np.random.default_rng(7)
    forecast = rng.normal(size=(MEMBERS, d)) @ (np.eye(d) + 0.4 * np.eye(d, k=1)) + 1
    return forecast, 0.5 + 0.7 * rng.normal(size=m)


def changed(array, *changes):
    """Return a copy with (place, value) set."""
    array = array.copy()
    for place, value in changes:
        array[place] = value
    return array


def run(name, dtype="float64", *, seed=0, forecast=None, y=None, of=None):
    """Return analysis and info, in NumPy, of a scheme's own problem, some of it replaced."""
    own_forecast, own_y = data(name)
    forecast = own_forecast if forecast is None else forecast
    arguments = forecast, own_y if y is None else y, problem(name) if of is None else of
    arguments = jax.tree.map(lambda x: jnp.asarray(x, dtype), arguments)
    return jax.tree.map(np.asarray, analysed(name)(jax.random.key(seed), *arguments))


def quick(function):
    """Compile without LLVM's optimisation: most of the cost of a test of this size.

    Inside another `jit` or a gradient, which take no such option, it is the function as it is.
    """
    compiled = jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})

    @functools.wraps(function)
    def call(*args, **kwargs):
        leaves = jax.tree.leaves((args, kwargs))
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        return (function if traced else compiled)(*args, **kwargs)

    return call


@functools.cache
def analysed(name):
    """Return the compiled (key, forecast, y, problem) -> analysis, info of a scheme."""

    def call(key, forecast, y, problem):
        return SCHEMES[name].build(problem)(key, forecast, y, problem.observation)

    return quick(call)


@functools.cache
def updated(name):
    """Return the compiled (key, forecast, simulated, y, problem) -> analysis, info from pairs."""

    def call(key, forecast, simulated, y, problem):
        return SCHEMES[name].build(problem).update(key, forecast, simulated, y)

    return quick(call)


def update(name, simulated, y=None):
    """Return analysis and info of `update` with a scheme's own forecast, as a call would draw."""
    own_forecast, own_y = data(name)
    arguments = own_forecast, simulated, own_y if y is None else y, problem(name)
    _, draw_key = jax.random.split(jax.random.key(0))
    return jax.tree.map(np.asarray, updated(name)(draw_key, *jax.tree.map(jnp.asarray, arguments)))
