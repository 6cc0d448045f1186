"""Values of members that were computed beforehand, row by row, and calls that hand each its own.

A simulator on the host cannot be called from a compiled program. It is run on the members first;
the program then looks the values up. Of a member that an analysis has moved since, its own value
and the ensemble's linear response are known, h(x_i + s) = h(x_i) + H s: exact for s = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._typing import Array, Float
from ..numerics import dot, linear_fit


class MemberRows(eqx.Module):
    """One row per member; within a call of `over_members`, the row of the member at hand.

    Attributes:
        values: of each member [n ...], NaN where there is none.
        at: the states that they belong to [n d].
    """

    values: Float[Array, "n *m"]
    at: Float[Array, "n d"]

    def of_member(self, name: str) -> MemberRows:
        """Return the rows within a call over members; TypeError where no member is at hand."""
        if self.at.ndim != 1:
            raise TypeError(
                f"{name}: a simulator on the host has been run on the members of the forecast; "
                "a scheme of your own measures all of them at once, by "
                "`kd.observations.sample_ensemble`"
            )
        return self


def over_members(observation: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return call(observation, *each) mapped over members, each with its own `MemberRows`.

    Args:
        observation: any pytree; one without rows is the same for all members.
        call: function of the observation and of what belongs to one member.
    """

    def is_rows(node: Any) -> bool:
        return isinstance(node, MemberRows)

    spec = jax.tree.map(is_rows, observation, is_leaf=is_rows)
    rows, rest = eqx.partition(observation, spec)
    mapped = jax.vmap(lambda rows, *each: call(eqx.combine(rows, rest), *each))
    return lambda *each: mapped(rows, *each)


def response(at: Float[Array, "n d"], values: Float[Array, "n m"]) -> Float[Array, "d m"]:
    """Return H^T, the slope of the regression of values on states; NaN takes no part.

    Args:
        at: states, finite.
        values: of each.
    """
    fit = linear_fit(at, values, jnp.isfinite(values))
    return fit.slope / fit.scale[:, None]


def moved(
    values: Float[Array, "*m"], step: Float[Array, " d"], slope: Float[Array, "d m"]
) -> Float[Array, "*m"]:
    """Return what a member predicts after a step, h + H s."""
    return values + dot(step[None], slope)[0]
