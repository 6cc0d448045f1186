"""A filter of this package as a method of DAPPER, on a model of DAPPER.

The model is NumPy's and stays so: between two measurements it is a `HostDynamics`, and the operator
a `HostOperator`. So members that fail are masked and replaced as in any run here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import count, has_method
from ..analysis.base import AbstractAnalysis
from ..assimilation import cycle, init
from ..observations.base import AbstractObservation
from ..simulators import HostDynamics, HostObservation, HostOperator
from .gaussian import CorrelatedGaussian
from .package import module_of

Tick = tuple[int, int | None, float, float]  # of DAPPER: step, measurement, time, time step


def dapper_method(analysis: AbstractAnalysis, N: int, **attributes: Any) -> Any:
    """Return a filter as a method of DAPPER, which `assimilate` of DAPPER's lists runs and scores.

    The members are drawn from the `X0` of DAPPER's model and stepped by its `Dyn`, whose additive
    noise is drawn for every member. Where the noise of its `Obs` is a `GaussRV`, the filter gets
    the operator and the covariance; any other noise is simulated, which SIR cannot use. All random
    numbers come from DAPPER's seed. Arithmetic of the analysis is float32, unless
    `jax_enable_x64` is set; the model has DAPPER's float64.

    Beside what DAPPER scores, `stats.failed_cycles` counts the cycles that were not `ok`.

        >>> import dapper, dapper.mods.Lorenz63.sakov2012 as setting  # doctest: +SKIP
        >>> xp = kd.interop.dapper_method(kd.EnKPF(), N=100)  # doctest: +SKIP
        >>> xp.assimilate(setting.HMM, *setting.HMM.simulate())  # doctest: +SKIP

    Args:
        analysis: the scheme.
        N: number of members.
        attributes: further ones of the method, such as a column for DAPPER's tables.

    Raises:
        ImportError: DAPPER is not installed.
        TypeError: no scheme, or a number of members that is no int.
        ValueError: fewer than two members. When run: a Gaussian measurement noise whose covariance
            is not positive definite.
    """
    has_method("analysis", analysis, "analyse")
    count("N", N, 2)
    method = _method_of(type(analysis).__name__)(N, analysis)
    for name, value in attributes.items():
        setattr(method, name, value)
    return method


@functools.cache
def _method_of(name: str) -> Any:
    """Return the class of a filter's methods; its name is that in DAPPER's tables."""
    import dataclasses

    da_method = module_of("dapper", "dapper.da_methods", "dapper_method").da_method

    class Method:
        N: int
        analysis: Any = dataclasses.field(repr=False)  # too long for a table

        def assimilate(self, HMM: Any, xx: Any, yy: Any) -> None:
            _run(self, HMM, yy)

    Method.__name__ = Method.__qualname__ = name
    return da_method()(Method)


def _run(method: Any, HMM: Any, yy: Any) -> None:
    """Filter all measurements, and give DAPPER's statistics the members."""
    progbar = module_of("dapper", "dapper.tools.progressbar", "dapper_method").progbar
    rng = module_of("dapper", "dapper.tools.seeding", "dapper_method").rng
    members = HMM.X0.sample(method.N)
    method.stats.assess(0, E=members)
    state, failed = init(jax.random.key(int(rng.integers(2**32))), jnp.asarray(members)), 0
    for ticks in _until_measured(progbar(HMM.tseq.ticker)):
        k, ko = ticks[-1][:2]
        forecast = _Forecast(HMM.Dyn, ticks)
        dynamics = HostDynamics(simulator=forecast, interval=float(HMM.tseq.dto))
        observation = observation_of(HMM.Obs(ko))
        y = jnp.asarray(yy[ko], state.ensemble.dtype)
        state, output = cycle(state, dynamics, observation, method.analysis, y)
        for step, between in forecast.seen:
            method.stats.assess(step, E=_sound(between))
        method.stats.assess(k, ko, "f", E=_sound(output.forecast))
        method.stats.assess(k, ko, E=_sound(output.analysis))
        failed += int(not output.info.ok)
    method.stat("failed_cycles", failed)


def _sound(members: Any) -> np.ndarray:
    """Return the members that are finite: DAPPER's statistics take no others."""
    members = np.asarray(members, float)
    return members[np.isfinite(members).all(axis=1)]


def _until_measured(ticker: Any) -> Iterator[list[Tick]]:
    """Yield DAPPER's time steps up to each measurement."""
    ticks = []
    for tick in ticker:
        ticks.append(tick)
        if tick[1] is not None:
            yield ticks
            ticks = []


class _Forecast:
    """DAPPER's model over some time steps, and the members that were seen before the last."""

    def __init__(self, model: Any, ticks: list[Tick]) -> None:
        self.model, self.ticks, self.seen = model, ticks, []

    def __call__(self, rng: Any, x: np.ndarray, t: float, interval: float) -> np.ndarray:
        """Step all members; the times are DAPPER's own, in double precision."""
        self.seen = []
        x = x.astype(float)
        for k, ko, now, dt in self.ticks:
            x = self.model(x, now - dt, dt)
            x = x + np.sqrt(dt) * self.model.noise.sample(len(x))
            if ko is None:
                self.seen.append((k, x))
        return x


def observation_of(operator: Any) -> AbstractObservation:
    """Return DAPPER's operator and its noise as an observation.

    Raises:
        ValueError: a Gaussian noise whose covariance is not positive definite.
    """
    noise = operator.noise
    gaussian = module_of("dapper", "dapper.tools.randvars", "dapper_method").GaussRV
    if not isinstance(noise, gaussian):
        return HostObservation(_on_doubles(lambda x: operator(x) + noise.sample(len(x)), True))
    covariance = getattr(noise.C, "full", None)
    if covariance is None or np.linalg.matrix_rank(covariance) < len(covariance):
        raise ValueError(
            "HMM.Obs.noise: expected a covariance that is positive definite, got "
            f"{0 if covariance is None else covariance.tolist()}"
        )
    h = HostOperator(_on_doubles(lambda x: operator(x) + noise.mu, False))
    return CorrelatedGaussian(h, jnp.asarray(covariance))


def _on_doubles(function: Callable[[Any], Any], drawn: bool) -> Callable[..., Any]:
    """Return a function of members as a simulator here is called, in double precision."""
    if drawn:
        return lambda rng, x, t: function(x.astype(float))
    return lambda x: function(x.astype(float))
