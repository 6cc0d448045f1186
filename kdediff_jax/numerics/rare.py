"""What is rarely needed, and then for few of the runs in a batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from .._typing import Array, Bool

T = TypeVar("T")


def rarely(needed: Bool[Array, ""], instead: Callable[[], T], usually: Callable[[], T]) -> T:
    """Return `instead()` where it is needed, else `usually()`.

    A `lax.cond` of a batch takes both ways for every run of it. Here `instead` is a loop of no
    rounds: a batch takes one round if any of its runs needs it, and none if none does. Its
    derivative is computed both ways.

    Args:
        needed: whether the usual result will not do.
        instead: what is seldom needed; it and `usually` return arrays of the same shapes and
            dtypes, and may close over traced arrays.
        usually: cheap, and computed always.
    """
    # as programs, whose constants are the traced arrays that the functions close over
    programs, shapes = zip(
        *(jax.make_jaxpr(way, return_shape=True)() for way in (instead, usually)), strict=True
    )
    moving, fixed = eqx.partition(tuple(p.consts for p in programs), eqx.is_inexact_array)
    found = _chosen(tuple(p.jaxpr for p in programs), needed, fixed, moving)
    return jax.tree.unflatten(jax.tree.structure(shapes[1]), found)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _chosen(programs: tuple[Any, Any], needed: Array, fixed: Any, moving: Any) -> list[Array]:
    def once(state: tuple[Array, Any]) -> tuple[Array, Any]:
        # else all of it comes before the loop, as it is the same in every round: XLA moves it
        _, here = lax.optimization_barrier((state[0], (fixed[0], moving[0])))
        return jnp.zeros_like(state[0]), _run(programs[0], *here)

    usually = _run(programs[1], fixed[1], moving[1])
    return lax.while_loop(lambda state: state[0], once, (needed, usually))[1]


def _run(program: Any, fixed: Any, moving: Any) -> list[Array]:
    return jaxpr_as_fun(ClosedJaxpr(program, eqx.combine(moving, fixed)))()


@_chosen.defjvp
def _tangents(programs: Any, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    needed, fixed, moving = primals

    def moved(way: int, taken: Array) -> tuple[Any, Any]:
        def result(moving: Any) -> tuple[Any, Any]:
            return eqx.partition(_run(programs[way], fixed[way], moving), eqx.is_inexact_array)

        # of the way not taken nothing, whatever its derivative is, in reverse too
        changes = jax.tree.map(lambda t: jnp.where(taken, t, 0), tangents[2][way])
        found, tangent, still = jax.jvp(result, (moving[way],), (changes,), has_aux=True)
        return eqx.combine(found, still), tangent

    # both ways once: a loop beside them would be compiled besides, and save nothing
    both = moved(0, needed), moved(1, ~needed)
    found, tangent = jax.tree.map(partial(jnp.where, needed), *both)
    # what cannot move has a tangent of no dtype
    still = [np.zeros(jnp.shape(x), jax.dtypes.float0) for x in found]
    return found, eqx.combine(tangent, still)
