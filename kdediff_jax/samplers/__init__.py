r"""Samplers of the conditional kernel density sum_i w_i N(x_i, h^2).

ProbabilityFlow  deterministic reverse ODE from Gaussian latents, one adaptive diffrax solve.
ShardedFlow      the same flow with its members over the devices of a mesh.
ReverseSDE       stochastic reverse diffusion (Anderson 1982), fixed steps.
ExactMixture     draw a component, add kernel noise: the law both above converge to.

All take (key, n, centres, log_weights, bandwidth) and return equally weighted samples.
ExponentialMultistep is the flows' diffrax solver: one evaluation of the denoiser per step.
"""

from .base import AbstractSampler, SamplerStats
from .exact_mixture import ExactMixture
from .exponential import DrivenTerm, ExponentialMultistep
from .probability_flow import ProbabilityFlow, per_member_pid
from .reverse_sde import ReverseSDE
from .sharded import ShardedFlow

__all__ = [
    "AbstractSampler",
    "DrivenTerm",
    "ExactMixture",
    "ExponentialMultistep",
    "ProbabilityFlow",
    "ReverseSDE",
    "SamplerStats",
    "ShardedFlow",
    "per_member_pid",
]
