"""Exact sampler: draw a component, add kernel noise. No solve."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import latents as _latents
from .._checks import choice
from .._typing import Array, Float, Key, Scalar
from ..ensemble.resampling import SCHEMES, resample, sort_along_principal_axis
from .base import AbstractSampler, SamplerStats, checked


class ExactMixture(AbstractSampler):
    """Draw component i with probability w_i, then x = x_i + h z with z ~ N(0, I).

    In law this is the end point of both reverse diffusions.

    Args:
        draws: "systematic", "stratified" or "multinomial" draws of the components. The first two
            are of low variance; the components are sorted along the first principal axis of the
            weighted ensemble first, so that neighbours in the draw are neighbours in space.
        latents: kind of kernel noise, see `kdediff_jax.latents`.

    Raises:
        ValueError: an unknown option.
    """

    draws: str = eqx.field(static=True, default="systematic")
    latents: str = eqx.field(static=True, default="independent")

    def __check_init__(self) -> None:
        """Check the options."""
        choice("draws", self.draws, SCHEMES)
        choice("latents", self.latents, _latents.KINDS)

    def __call__(
        self,
        key: Key,
        n: int,
        centres: Float[Array, "m d"],
        log_weights: Float[Array, " m"],
        bandwidth: Float[Array, " d"] | Scalar,
    ) -> tuple[Float[Array, "n d"], SamplerStats]:
        """Return n samples; no steps are taken."""
        centres, log_weights, bandwidth = checked(centres, log_weights, bandwidth)
        draw_key, noise_key = jax.random.split(key)
        order = sort_along_principal_axis(centres, log_weights)
        chosen = order[resample(draw_key, log_weights[order], n, self.draws)]
        z = _latents.draw(noise_key, n, centres.shape[1], centres.dtype, self.latents)
        none = jnp.zeros((), jnp.int32)
        kernel = jnp.broadcast_to(bandwidth, (centres.shape[1],))[None]
        return centres[chosen] + kernel * z, SamplerStats(none, none, jnp.all(bandwidth > 0))
