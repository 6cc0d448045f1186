"""Members and what they predict: who takes part, and what stands for values that are missing."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .._typing import Array, Bool, Float, Scalar, like
from ..numerics import LinearFit, linear_fit, rarely
from .members import all_near, far_members, replace_dead


class Pairs(NamedTuple):
    """Members and predictions, all finite.

    Attributes:
        members: x_i; stand-ins for those that take no part.
        alive: who takes part.
        values: their predictions or simulated measurements.
        y: the measurement; NaN components are missing, or predicted by no member.
    """

    members: Float[Array, "n d"]
    alive: Bool[Array, " n"]
    values: Float[Array, "n m"]
    y: Float[Array, " m"]


class Admitted(NamedTuple):
    """Pairs, and how they were made.

    Attributes:
        pairs: finite.
        known: which values were predicted by members that take part; the others were filled in.
        fit: the regression that filled them in; 0 where there was nothing to fill in.
    """

    pairs: Pairs
    known: Bool[Array, "n m"]
    fit: LinearFit


def admit_pairs(
    forecast: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    values: Float[Array, "n m"],
    y: Float[Array, " m"],
    far_member: Scalar | float,
) -> Admitted:
    """Return finite pairs of those who can be compared with the measurement.

    A member that predicts fewer than half of what is measured, or something absurd, takes no part:
    it and its predictions are replaced together. One without a prediction of some component, as
    where h takes the root of a negative number, keeps its say on the others: what is missing
    follows from the state, by regression.

    Args:
        forecast: members, finite.
        alive: members that take part so far.
        values: their predictions or simulated measurements.
        y: the measurement.
        far_member: see `Safeguards`.
    """

    def mended() -> Admitted:
        usable = alive & _usable(values, y, like(values, far_member))
        known = jnp.isfinite(values) & usable[:, None]
        both = replace_dead(jnp.concatenate([forecast, values], axis=1), usable)
        members, paired = both[:, : forecast.shape[1]], both[:, forecast.shape[1] :]
        fit = linear_fit(members, paired, known)
        filled = jnp.where(jnp.isfinite(paired), paired, fit.at(members))
        # what no member predicts compares with nothing
        compared = jnp.where(jnp.any(known, axis=0), y, jnp.nan)
        return Admitted(Pairs(members, usable, filled, compared), known, fit)

    def as_they_are() -> Admitted:
        fit = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(mended).fit)
        fit = fit._replace(scale=jnp.ones_like(fit.scale))
        return Admitted(Pairs(forecast, alive, values, y), jnp.ones(values.shape, bool), fit)

    # what is rare is not worth the time of every cycle
    return rarely(~(jnp.all(alive) & all_near(values, far_member)), mended, as_they_are)


def _usable(
    values: Float[Array, "n m"], y: Float[Array, " m"], far_member: Scalar
) -> Bool[Array, " n"]:
    """Return the members that predict at least half of what is measured, and nothing absurd."""
    measured = ~jnp.isnan(y)[None]
    finite = jnp.isfinite(values)
    enough = 2 * jnp.sum(finite & measured, axis=1) >= jnp.sum(measured)
    # what is not measured may be as far as it likes
    return enough & ~far_members(values, finite & measured & enough[:, None], far_member)
