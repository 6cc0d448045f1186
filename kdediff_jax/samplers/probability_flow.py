"""Deterministic sampler: the probability-flow ODE of the closed-form score."""

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp

from .. import latents as _latents
from .._checks import choice, count, ensemble
from .._typing import Array, Float, Key, Scalar
from .._words import counted
from ..schedules import AbstractSchedule, default_schedule
from .base import AbstractSampler, SamplerStats, transport
from .exponential import ExponentialMultistep
from .first_step import FirstStep


def per_member_norm(error: Any) -> Scalar:
    """Return the largest member's root-mean-square error."""
    return jnp.max(jnp.sqrt(jnp.mean(error**2, axis=-1)))


def per_member_pid(
    rtol: float = 2e-2,
    atol: float | None = None,
    pcoeff: float = 0.3,
    icoeff: float = 0.4,
    safety: float = 0.8,
    **kwargs: Any,
) -> diffrax.PIDController:
    """Return a diffrax step-size controller whose tolerance holds for every member.

    diffrax's own norm averages over the whole ensemble, so that one member in a thousand may be
    thirty times worse. Tolerances are in units of the spread of the weighted ensemble. The
    proportional term (Hairer and Wanner 1996, IV.2) and the smaller safety reject fewer steps; see
    the measured table in `benchmarks/RESULTS.md` for what a tolerance costs and gives.
    """
    return diffrax.PIDController(
        rtol=rtol,
        atol=rtol if atol is None else atol,
        norm=per_member_norm,
        pcoeff=pcoeff,
        icoeff=icoeff,
        safety=safety,
        **kwargs,
    )


class ProbabilityFlow(AbstractSampler):
    r"""Reverse flow dx/du = x - m(x, e^u), u = log tau, from tau_max down to the bandwidth.

    Source: Binder, Dasgupta and Oberai 2026 (arXiv 2603.21291); Song et al. 2021 for the ODE. The
    whole ensemble is one adaptive solve, in coordinates centred on the weighted mean and scaled by
    the spread of the kernel density. Given its latents the result is deterministic, and
    differentiable through `adjoint`.

    Args:
        schedule: noise schedule; the default starts five spreads wide.
        solver: any diffrax ODE solver. The default, `ExponentialMultistep`, needs the fewest
            evaluations at tolerances down to 1e-3; below 1e-4 take `diffrax.Dopri5()`.
        stepsize_controller: any diffrax controller. `diffrax.StepTo(jnp.linspace(1, 0, 13))` takes
            12 fixed steps, so that the runs of a batch need not wait for the slowest. The default
            holds 2e-2 of the ensemble's spread for every member: a few hundredths of a bandwidth
            for the typical member at the end of the flow, several for a member on the watershed
            between two others, which ends at the other one.
        max_steps: a solve that needs more returns `ok == False`.
        adjoint: any diffrax adjoint.
        start: "matched" starts from the mean and covariance of p at tau_max; "prior" from
            N(forecast mean, tau_max^2) as the paper does, which biases the posterior mean towards
            the forecast mean by about sigma / sqrt(sigma^2 + tau_max^2) of the increment, where
            sigma is the posterior standard deviation.
        latents: kind of latents, see `kdediff_jax.latents`.
        dt0: first step in t (negative, as t runs from 1 to 0). A constant step-size needs it;
            None lets diffrax choose, but for `ExponentialMultistep`: a tenth of the way.
        core: "tiled", or "fused" for the GPU kernel of `kdediff_jax.fused`: half the time of an
            analysis from 10,000 members on; where it does not work it warns once and the tiles are
            used.

    Raises:
        ValueError: an unknown start, core or kind of latents; tau_max not above the bandwidth.
    """

    schedule: AbstractSchedule = eqx.field(default_factory=default_schedule)
    solver: diffrax.AbstractSolver = eqx.field(default_factory=ExponentialMultistep)
    stepsize_controller: diffrax.AbstractStepSizeController = eqx.field(
        default_factory=per_member_pid
    )
    max_steps: int = eqx.field(static=True, default=256)
    adjoint: diffrax.AbstractAdjoint = eqx.field(default_factory=diffrax.RecursiveCheckpointAdjoint)
    start: str = eqx.field(static=True, default="matched")
    latents: str = eqx.field(static=True, default="low-variance")
    dt0: float | None = eqx.field(static=True, default=None)
    core: str = eqx.field(static=True, default="tiled")

    def __check_init__(self) -> None:
        """Check the options."""
        choice("start", self.start, ("matched", "prior"))
        choice("latents", self.latents, _latents.KINDS)
        choice("core", self.core, ("tiled", "fused"))
        count("max_steps", self.max_steps)
        if self.dt0 is not None and not self.dt0 < 0:
            raise ValueError(f"dt0: expected a negative number (t falls), got {self.dt0}")

    def __call__(
        self,
        key: Key,
        n: int,
        centres: Float[Array, "m d"],
        log_weights: Float[Array, " m"],
        bandwidth: Float[Array, " d"] | Scalar,
    ) -> tuple[Float[Array, "n d"], SamplerStats]:
        """Draw latents and transport them."""
        return self.sample(self.draw(key, n, centres), centres, log_weights, bandwidth)

    def draw(self, key: Key, n: int, centres: Float[Array, "m d"]) -> Float[Array, "n d"]:
        """Return n latents of the flow's kind, in the centres' dimension and dtype."""
        centres = ensemble("centres", centres, minimum=1)
        return _latents.draw(key, n, centres.shape[1], centres.dtype, self.latents)

    def sample(
        self,
        latents: Float[Array, "n d"],
        centres: Float[Array, "m d"],
        log_weights: Float[Array, " m"],
        bandwidth: Float[Array, " d"] | Scalar | float,
    ) -> tuple[Float[Array, "n d"], SamplerStats]:
        """Transport standard-normal latents to the mixture; deterministic in the latents.

        Args:
            latents: one row per sample wanted.
            centres: members x_i.
            log_weights: log w_i, normalised or not; -inf switches a member off.
            bandwidth: h_x, where the flow ends.

        Returns:
            samples [n d], and (accepted steps, rejected steps, success).
        """
        latents, centres = (
            ensemble(name, value, minimum=1)
            for name, value in (("latents", latents), ("centres", centres))
        )
        if latents.shape[1] != centres.shape[1]:
            raise ValueError(
                f"latents: expected {counted(centres.shape[1], 'coordinate')} as in centres, "
                f"got shape {latents.shape}"
            )
        problem, valid = transport(centres, log_weights, bandwidth, self.schedule)
        dtype = problem.centres.dtype
        solution = diffrax.diffeqsolve(
            problem.reverse_flow(self.schedule, self.solver, self.core),
            self.solver,
            t0=jnp.ones((), dtype),
            t1=jnp.zeros((), dtype),
            dt0=None,
            y0=problem.initial(latents.astype(dtype), self.start),
            saveat=diffrax.SaveAt(t1=True),
            stepsize_controller=self._controller(),
            max_steps=self.max_steps,
            adjoint=self.adjoint,
            throw=False,
        )
        assert solution.ys is not None  # t1 is saved
        stats = SamplerStats(
            num_steps=solution.stats["num_accepted_steps"],
            num_rejected=solution.stats["num_rejected_steps"],
            ok=valid & (solution.result == diffrax.RESULTS.successful),
        )
        return problem.restore(solution.ys[0]), stats

    def _controller(self) -> diffrax.AbstractStepSizeController:
        """Return the controller, told the first step where one is given or known to be good."""
        controller, size = self.stepsize_controller, self.dt0
        fixed = isinstance(controller, diffrax.StepTo | diffrax.ConstantStepSize)
        if size is None and isinstance(self.solver, ExponentialMultistep) and not fixed:
            size = -0.1  # far out the flow is linear, which this solver takes exactly
        return controller if size is None else FirstStep(controller, -size)
