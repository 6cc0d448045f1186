"""Stochastic sampler: the reverse diffusion itself."""

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
from jax import lax

from .. import latents as _latents
from .._checks import choice, count, positive
from .._typing import Array, Bool, Float, Key, Number, Scalar, like, tunable
from ..schedules import AbstractSchedule, default_schedule
from .base import AbstractSampler, SamplerStats, Transport, transport


class ReverseSDE(AbstractSampler):
    r"""Reverse diffusion dx = (1 + λ²) (m(x) - x) du + λ sqrt(2) tau dW over u = log(tau_max/tau).

    λ = 1 is the time reversal of the forward noise (Anderson 1982), λ = 0 the probability flow;
    every λ has the same marginals. The noise is additive, so that Itô and Stratonovich agree.

    Args:
        schedule: noise schedule; the default starts five spreads wide.
        solver: any diffrax SDE solver for additive noise driven by Brownian increments.
        num_steps: equal steps in the schedule's time.
        noise: λ.
        start: as in `ProbabilityFlow`.

    Raises:
        ValueError: an unknown start, no steps, negative noise, tau_max not above the bandwidth.
    """

    schedule: AbstractSchedule = eqx.field(default_factory=default_schedule)
    solver: diffrax.AbstractSolver = eqx.field(default_factory=diffrax.EulerHeun)
    num_steps: int = eqx.field(static=True, default=100)
    noise: Number = tunable(1.0)
    start: str = eqx.field(static=True, default="matched")

    def __check_init__(self) -> None:
        """Check the options."""
        choice("start", self.start, ("matched", "prior"))
        count("num_steps", self.num_steps)
        positive("noise", self.noise, zero=True)

    def __call__(
        self,
        key: Key,
        n: int,
        centres: Float[Array, "m d"],
        log_weights: Float[Array, " m"],
        bandwidth: Float[Array, " d"] | Scalar,
    ) -> tuple[Float[Array, "n d"], SamplerStats]:
        """Return n samples; every draw takes `num_steps` steps."""
        problem, valid = transport(centres, log_weights, bandwidth, self.schedule)
        start_key, path_key = jax.random.split(key)
        dtype, d = problem.centres.dtype, problem.centres.shape[1]
        z = _latents.draw(start_key, n, d, dtype, "independent")
        x, good = self._integrate(self._terms(path_key, problem, n), problem.initial(z, self.start))
        stats = SamplerStats(
            num_steps=jnp.asarray(self.num_steps, jnp.int32),
            num_rejected=jnp.zeros((), jnp.int32),
            ok=valid & good,
        )
        return problem.restore(x), stats

    def _terms(self, key: Key, problem: Transport, n: int) -> diffrax.MultiTerm:
        """Return drift and diffusion over s = 1 - t: diffrax wants Brownian paths forward."""
        dtype, d = problem.centres.dtype, problem.centres.shape[1]
        noise = like(problem.centres, self.noise)

        def drift(s: Any, x: Any, args: Any) -> Array:
            return (1 + noise**2) * problem.pull(self.schedule, 1 - like(x, s), x)

        def diffusion(s: Any, x: Any, args: Any) -> lineax.DiagonalLinearOperator:
            t = 1 - like(x, s)
            tau = self.schedule.tau(t, problem.tau_min, problem.tau_max) / problem.scale
            rate = self.schedule.rate(t, problem.tau_min, problem.tau_max)
            # log-spaced schedules never end below zero, a traced tau_max under the bandwidth might
            width = noise * jnp.sqrt(2 * jnp.maximum(rate, 0)) * tau
            return lineax.DiagonalLinearOperator(jnp.broadcast_to(width[None], x.shape))

        brownian = diffrax.UnsafeBrownianPath(
            shape=jax.ShapeDtypeStruct((n, d), dtype),
            key=key,
            levy_area=_levy_area(self.solver),
        )
        return diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, brownian))

    def _integrate(
        self, terms: diffrax.MultiTerm, x: Float[Array, "n d"]
    ) -> tuple[Float[Array, "n d"], Bool[Array, ""]]:
        """Return the points at s = 1, and whether every step succeeded.

        diffrax's own loop checks the sign of a traced step size by calling the host.
        """
        times = jnp.linspace(0, 1, self.num_steps + 1, dtype=x.dtype)
        state = self.solver.init(terms, times[0], times[1], x, None)

        def step(carry: tuple, ends: tuple) -> tuple[tuple, Array]:
            x, state = carry
            begin, end = ends
            x, _, _, state, result = self.solver.step(
                terms, begin, end, x, None, state, made_jump=False
            )
            return (x, state), result == diffrax.RESULTS.successful

        (x, _), good = lax.scan(step, (x, state), (times[:-1], times[1:]))
        return x, jnp.all(good)


def _levy_area(solver: diffrax.AbstractSolver) -> type:
    """Return the least Brownian information that the solver needs."""
    wanted = getattr(solver, "minimal_levy_area", diffrax.BrownianIncrement)
    if issubclass(diffrax.BrownianIncrement, wanted):
        return diffrax.BrownianIncrement
    return diffrax.SpaceTimeLevyArea
