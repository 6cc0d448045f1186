r"""The reverse flow with its members shared out over the devices of a mesh.

Every device holds all centres (N d numbers, gathered once per analysis) and transports its own
share of the members: queries are local, so that the pairwise sums need no communication. What the
devices agree on is the step: the error norm is the largest over all of them, one number for each
step tried. The steps, and so the samples, are those of one device within rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from .._checks import checked_mesh, ensemble, mesh_axis
from .._typing import Array, Float, Key, Scalar
from .base import AbstractSampler, SamplerStats
from .probability_flow import ProbabilityFlow


class ShardedFlow(AbstractSampler):
    """`ProbabilityFlow` over a mesh: the same samples, members shared out over its devices.

    Use it as any sampler: `KDEDiffusion(..., sampler=ShardedFlow(ProbabilityFlow(), mesh))`, on
    several devices of one process or of several (`jax.distributed`, see
    `benchmarks/speed/scaling.py`). A
    number of members that the mesh does not divide is padded with copies, which change no step and
    are dropped. It has no derivative.

    Args:
        flow: the flow. Where its step-size controller has a norm, the largest over the devices
            counts: for `per_member_pid` exactly the norm of all members, for a norm that averages
            (diffrax's default) the worst device's average.
        mesh: devices, for instance `jax.make_mesh((jax.device_count(),), ("members",))`.
        axis: the mesh axis to share members over; the first by default. Others hold copies.

    Raises:
        TypeError: not a `ProbabilityFlow` or not a mesh.
        ValueError: an axis that the mesh does not have.
    """

    flow: ProbabilityFlow
    mesh: Mesh = eqx.field(static=True)
    axis: str = eqx.field(static=True)

    def __init__(self, flow: ProbabilityFlow, mesh: Mesh, axis: str | None = None) -> None:
        """Check the mesh."""
        if not isinstance(flow, ProbabilityFlow):
            raise TypeError(f"flow: expected a ProbabilityFlow, got {flow!r}")
        self.flow, self.mesh = flow, checked_mesh(mesh)
        self.axis = mesh_axis(self.mesh, axis)

    def __call__(
        self,
        key: Key,
        n: int,
        centres: Float[Array, "m d"],
        log_weights: Float[Array, " m"],
        bandwidth: Float[Array, " d"] | Scalar,
    ) -> tuple[Float[Array, "n d"], SamplerStats]:
        """Draw latents, the same on every device, and transport them."""
        return self.sample(self.flow.draw(key, n, centres), centres, log_weights, bandwidth)

    def sample(
        self,
        latents: Float[Array, "n d"],
        centres: Float[Array, "m d"],
        log_weights: Float[Array, " m"],
        bandwidth: Float[Array, " d"] | Scalar | float,
    ) -> tuple[Float[Array, "n d"], SamplerStats]:
        """Transport latents as `ProbabilityFlow.sample` does, a share of them on each device."""
        latents = ensemble("latents", latents, minimum=1)
        n = latents.shape[0]
        extra = -n % self.mesh.shape[self.axis]
        padded = jnp.pad(latents, ((0, extra), (0, 0)), mode="edge")
        numbers, rest = eqx.partition(_with_common_norm(self.flow, self.axis), eqx.is_inexact_array)
        inputs = (padded, numbers, centres, log_weights, jnp.asarray(bandwidth, centres.dtype))

        def share(z, numbers, *mixture):
            return eqx.combine(numbers, rest).sample(z, *mixture)

        samples, stats = _over_devices(share, self.mesh, self.axis)(*inputs)
        return samples[:n], stats


def _over_devices(share: Callable, mesh: Mesh, axis: str) -> Callable:
    """Return `share` with its first argument and result split over the mesh axis."""
    split, whole = PartitionSpec(axis), PartitionSpec()

    @jax.custom_vjp
    def run(*args):
        # equinox's loops do not say which values differ between devices, hence no check of that
        return jax.shard_map(
            share,
            mesh=mesh,
            in_specs=(split, *[whole] * (len(args) - 1)),
            out_specs=(split, whole),
            check_vma=False,
        )(*args)

    def backward(args, cotangents):
        # equinox's checkpointed loop cannot be transposed through `shard_map`
        raise NotImplementedError(
            "ShardedFlow has no derivative: differentiate its `flow` on one device"
        )

    run.defvjp(lambda *args: (run(*args), None), backward)
    return run


def _with_common_norm(flow: ProbabilityFlow, axis: str) -> ProbabilityFlow:
    """Return the flow with every `norm` of its controllers made the largest over a mesh axis."""

    def agree(path: tuple, leaf: Any) -> Any:
        is_norm = bool(path) and getattr(path[-1], "name", "") == "norm"
        return _largest(leaf, axis) if is_norm else leaf

    controller = jax.tree_util.tree_map_with_path(agree, flow.stepsize_controller)
    return eqx.tree_at(lambda f: f.stepsize_controller, flow, controller)


def _largest(norm: Callable[[Any], Scalar], axis: str) -> Callable[[Any], Scalar]:
    def largest(error: Any) -> Scalar:
        own = norm(error)
        # a maximum over devices may drop NaN, and infinity rejects a step as NaN does
        return lax.pmax(jnp.where(jnp.isnan(own), jnp.inf, own), axis)

    return largest
