"""Bisection: the bracket, element by element, inside compiled code."""

import jax
import jax.numpy as jnp
import numpy as np

from kdediff_jax.numerics import bisect, bisect_root, newton_root


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


def test_a_root_is_exact_and_has_the_derivative_of_the_implicit_function(x64):
    """u with u + exp(u) = a: du/da = 1 / (1 + exp(u)), however coarse the bracket."""

    def root(a):
        return bisect_root(lambda u: a - u - jnp.exp(u), -8.0 + 0 * a, 8.0 + 0 * a, 14)

    wanted = jnp.linspace(-3, 2, 7)
    a = wanted + jnp.exp(wanted)
    np.testing.assert_allclose(jax.jit(root)(a), wanted, atol=1e-6)
    slope = jax.vmap(jax.grad(root))(a)
    np.testing.assert_allclose(slope, 1 / (1 + jnp.exp(wanted)), rtol=1e-3)


def test_a_root_outside_is_the_bound_without_a_derivative(x64):
    def root(a):
        return bisect_root(lambda u: a - u, jnp.zeros(()), jnp.ones(()), 20)

    for a, bound in ((7.0, 1.0), (-7.0, 0.0)):
        value, slope = jax.value_and_grad(root)(jnp.asarray(a))
        np.testing.assert_allclose(value, bound, atol=1e-5)
        assert slope == 0


def test_newtons_root_in_a_bracket_wherever_it_is(dtype):
    """Falling functions that Newton's steps alone leave: flat on both sides, steep between.

    An element that is found stays found while others go on.
    """
    wanted = jnp.asarray([-7.0, -1.5, 0.0, 0.3, 6.9], dtype)[:, None]
    steepness = jnp.asarray([0.1, 1.0, 30.0], dtype)[None]
    low, high = jnp.full((5, 3), -8, dtype), jnp.full((5, 3), 9, dtype)

    @jax.jit
    def found(wanted, start):
        def residual(u):
            return -jnp.tanh(steepness * (u - wanted))

        return newton_root(residual, start, low, high, scale=1 / jnp.max(steepness))

    for start in (jnp.zeros((5, 3), dtype), jnp.broadcast_to(wanted, (5, 3)), high):
        roots = found(wanted, start)
        assert roots.dtype == dtype
        np.testing.assert_allclose(
            roots, wanted + jnp.zeros_like(roots), atol=60 * jnp.finfo(dtype).eps
        )
