"""`toy-bimodal`: x' = x + 0.1 z, |x| measured with standard deviation 0.1.

Members start in two modes at -1 and 1 (standard deviation 0.1), the truth in one of them and stays
there. |x| cannot tell the sign: the exact posterior keeps both modes, with equal weights.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..._typing import Array, Key
from ...dynamics import RandomWalk
from ...observations import GaussianObservation
from ..experiment import Experiment


def initial(key: Key, n: int) -> tuple[Array, Array]:
    """Draw the truth and the members from the two modes."""
    sign_key, truth_key, member_key = jax.random.split(key, 3)
    truth = jax.random.rademacher(sign_key, (1,), jnp.float32)
    # half of the members in each mode exactly: the prior's weights carry no sampling noise
    signs = jnp.where(jnp.arange(n) % 2 == 0, 1.0, -1.0)[:, None]
    return (
        truth + 0.1 * jax.random.normal(truth_key, (1,), jnp.float32),
        signs + 0.1 * jax.random.normal(member_key, (n, 1)),
    )


def experiment() -> Experiment:
    """Return the experiment."""
    return Experiment(
        name="toy-bimodal",
        summary="random walk on the line, |x| measured: two modes",
        dynamics=RandomWalk(noise_std=0.1),
        truth_dynamics=RandomWalk(noise_std=0.0),
        observation=GaussianObservation(jnp.abs, 0.1),
        num_cycles=100,
        initial=initial,
        bandwidths={250: (0.05, 0.2)},
        coordinates=("x",),
        shown=(0,),
        grid={
            "state_bandwidth": (0.01, 0.02, 0.05, 0.1, 0.2),
            "obs_bandwidth": (0.05, 0.1, 0.2, 0.5),
        },
        sir_resampling="multinomial",
    )
