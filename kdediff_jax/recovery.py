"""A run that has lost its members starts again from its own past.

An ensemble of few members can leave the attractor of its model: it stays finite for some cycles,
and none of its members survives the next forecast. What it was just before is no place to start
from. So a run keeps a reserve of N members: first the initial ensemble; every fifth good cycle then
puts in the next of its members for the oldest. The cycles on the way to a loss, which report
nothing unusual, are few of the last 5 N, and what they put in is found by its distance from the
rest when the reserve is needed.

A localised filter loses places, not members: one in which no two members are finite must not cost
it a field. There the reserve takes the members' place, also around it, where they are finite but
on their way: far from all that the run has been.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ._typing import Array, Bool, Float, Int
from .analysis.members import far_members, far_values, middle_and_scale, replace_dead
from .analysis.outcome import AnalysisInfo
from .numerics import rarely

EVERY = 5  # cycles; a loss takes a few, and must not fill more than the tails of the reserve
FAR = 5.0  # halves of the distance between the 15th and the 85th percentile
ON_THE_WAY = 30.0  # the same; of members around a place that is lost


def restarted(
    forecast: Float[Array, "n d"], reserve: Float[Array, "n d"], localised: bool = False
) -> tuple[Float[Array, "n d"], Int[Array, ""]]:
    """Return the forecast, or the reserve where fewer than two members are left.

    Also returned is how many members were lost where it is the reserve, else 0.

    Args:
        forecast: members as the model returned them.
        reserve: of the run, see `replenished`.
        localised: whether places are restarted by themselves, see `AbstractAnalysis`.
    """
    if localised:
        left = jnp.sum(jnp.isfinite(forecast), axis=0, dtype=jnp.int32)
        gone = forecast.shape[0] - jnp.min(left)
        lost = jnp.where(jnp.any(left < 2), gone, 0)
        places = rarely(
            lost > 0, lambda: _places_restarted(forecast, reserve, left), lambda: forecast
        )
        return places, lost

    def looked_at() -> tuple[Array, Array]:
        n = forecast.shape[0]
        gone = n - jnp.sum(jnp.all(jnp.isfinite(forecast), axis=1), dtype=jnp.int32)
        lost = jnp.where(n - gone < 2, gone, 0)
        return jnp.where(lost > 0, credible(reserve), forecast), lost

    # where fewer than two are left one of the first two is gone
    suspicious = ~jnp.all(jnp.isfinite(forecast[:2]))
    return rarely(suspicious, looked_at, lambda: (forecast, jnp.int32(0)))


def _places_restarted(
    forecast: Float[Array, "n d"], reserve: Float[Array, "n d"], left: Int[Array, " d"]
) -> Float[Array, "n d"]:
    """Return the forecast, and the reserve where few members are left or are on their way."""
    finite = jnp.isfinite(reserve)
    sound = finite & ~far_values(reserve, finite, jnp.asarray(FAR, reserve.dtype))
    start = replace_dead(reserve, sound)
    middle, scale = middle_and_scale(start, jnp.ones(start.shape, bool))
    distance = jnp.abs(forecast - middle[None])
    gone = jnp.any(distance > ON_THE_WAY * scale[None], axis=0) | (left < 2)
    return jnp.where(gone[None], start, forecast)


def credible(reserve: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Return the reserve with stand-ins for rows far from the others, or not finite."""
    finite = jnp.all(jnp.isfinite(reserve), axis=1)
    sound = finite & ~far_members(reserve, finite[:, None], jnp.asarray(FAR, reserve.dtype))
    return jnp.where(jnp.any(sound), replace_dead(reserve, sound), reserve)


def reported(info: AnalysisInfo, lost: Int[Array, ""]) -> AnalysisInfo:
    """Return the report of a cycle; one that started from the reserve is not `ok`."""
    masked = jnp.where(lost > 0, lost, info.num_masked)
    return info._replace(ok=info.ok & (lost == 0), num_masked=masked)


def replenished(
    reserve: Float[Array, "n d"],
    ensemble: Float[Array, "n d"],
    index: Int[Array, ""],
    ok: Bool[Array, ""],
) -> Float[Array, "n d"]:
    """Return the reserve, in every fifth cycle with one more member if the cycle was good.

    Args:
        reserve: members of good cycles.
        ensemble: what the cycle started from, so that its forecast is known to be sound.
        index: number of the cycle.
        ok: whether the cycle was good.
    """
    row = index // EVERY % reserve.shape[0]
    taken = ok & (index % EVERY == 0) & jnp.all(jnp.isfinite(ensemble[row]))
    member = jnp.where(taken, ensemble[row], reserve[row])
    return lax.dynamic_update_index_in_dim(reserve, member, row, axis=0)
