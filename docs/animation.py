"""The animation of the reverse diffusion for the site: members of the page's problem, one flow.

python -m docs.animation     writes docs/pages/reverse-diffusion.gif again
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp

import kdediff_jax as kd

from .pictures import MEASURED, problem

TARGET = Path(__file__).parent / "pages" / "reverse-diffusion.gif"


def main() -> None:
    """Carry 40 latents into the two modes of x, of which x^2 is measured."""
    x, y = problem()
    log_weights = kd.kde.log_weights(jnp.array([MEASURED]), y, 0.3)
    moving = kd.plots.animate_flow(
        x,
        log_weights,
        0.15,
        jax.random.normal(jax.random.key(2), (40, 1)),
        frames=36,
        labels=("state x",),
        title="40 latents become draws of a posterior with two modes",
    )
    print(kd.plots.save(moving, TARGET, force=True))


if __name__ == "__main__":
    main()
