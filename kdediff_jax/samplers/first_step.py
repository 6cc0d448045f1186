"""A first step for any step-size controller."""

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp


class FirstStep(diffrax.AbstractStepSizeController):
    """Another controller, whose first step has the size given.

    `diffeqsolve(dt0=...)` does the same, but checks its sign by a call of the host.

    Args:
        controller: any diffrax controller.
        size: of the first step in t, positive.
    """

    controller: diffrax.AbstractStepSizeController
    size: float = eqx.field(static=True)

    def wrap(self, direction: Any) -> FirstStep:
        """Return the controller for time that runs in a direction."""
        return FirstStep(self.controller.wrap(direction), self.size)

    def init(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        dt0: Any,
        args: Any,
        func: Any,
        error_order: Any,
    ) -> tuple[Any, Any]:
        """Return the end of the first step and the controller's state."""
        del dt0
        size = jnp.asarray(self.size, jnp.result_type(t0))
        return self.controller.init(terms, t0, t1, y0, size, args, func, error_order)

    def adapt_step_size(self, *args: Any) -> tuple[Any, ...]:
        """Accept or reject a step and choose the next, as the controller does."""
        return self.controller.adapt_step_size(*args)
