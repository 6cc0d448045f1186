"""A run that has lost its members starts again from its own climate.

An ensemble of few members can leave the attractor of its model: it stays finite for some cycles,
and none of its members survives the next forecast. What it was just before is no place to start
from. So a run keeps a reserve of N members: first the initial ensemble; each good cycle then puts
in the next of its members for the oldest, that is a sample of the last N good cycles, and as wide
as the model's climate. A member far outside the reserve is not taken: the cycles on the way to the
loss report nothing unusual.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from ._typing import Array, Bool, Float, Int
from .analysis.outcome import AnalysisInfo

MARGIN = 0.1  # of the reserve's range; a loss takes a few cycles, a trend has as long as it likes


def restarted(
    forecast: Float[Array, "n d"], reserve: Float[Array, "n d"]
) -> tuple[Float[Array, "n d"], Int[Array, ""]]:
    """Return the forecast, or the reserve where fewer than two members are left.

    Also returned is how many members were lost where it is the reserve, else 0.

    Args:
        forecast: members as the model returned them.
        reserve: of the run, see `replenished`.
    """
    n = forecast.shape[0]
    gone = n - jnp.sum(jnp.all(jnp.isfinite(forecast), axis=1), dtype=jnp.int32)
    lost = jnp.where(n - gone < 2, gone, 0)
    return jnp.where(lost > 0, reserve, forecast), lost


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
    """Return the reserve with one more member of a good cycle.

    Args:
        reserve: members of good cycles; a row that is not finite counts for nothing.
        ensemble: what the cycle started from, so that its forecast is known to be sound.
        index: number of the cycle.
        ok: whether the cycle was good.
    """
    finite = jnp.isfinite(reserve)
    low = jnp.min(jnp.where(finite, reserve, jnp.inf), axis=0)
    high = jnp.max(jnp.where(finite, reserve, -jnp.inf), axis=0)
    row = index % reserve.shape[0]
    # halves, whose difference cannot overflow
    room = 2 * MARGIN * (0.5 * high - 0.5 * low)
    near = jnp.all((ensemble[row] >= low - room) & (ensemble[row] <= high + room))
    member = jnp.where(ok & near, ensemble[row], reserve[row])
    return lax.dynamic_update_index_in_dim(reserve, member, row, axis=0)
