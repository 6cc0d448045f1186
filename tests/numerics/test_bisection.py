"""Bisection: the bracket, element by element, inside compiled code."""

import jax
import jax.numpy as jnp
import numpy as np

from kdediff_jax.numerics import bisect


def test_every_element_finds_its_own_turn(dtype):
    turns = jnp.asarray([0.1, 2.0, 9.99], dtype)

    @jax.jit
    def found(turns):
        return bisect(lambda x: x**3 < turns**3, jnp.zeros_like(turns), 10 + 0 * turns, 20)

    low, high = found(turns)
    width = 10 * 2.0**-20
    assert low.dtype == high.dtype == dtype
    np.testing.assert_allclose(high - low, width, atol=2e-6 if dtype == jnp.float32 else 1e-15)
    assert np.all((low <= turns) & (turns <= high))


def test_a_turn_outside_leaves_the_end_that_is_nearer():
    ends = jnp.zeros(()), jnp.ones(())
    assert bisect(lambda x: x < 7, *ends, 10)[1] == 1  # the condition holds everywhere
    assert bisect(lambda x: x < -7, *ends, 10)[0] == 0  # and nowhere
    assert bisect(lambda x: x < jnp.nan, *ends, 10)[0] == 0
