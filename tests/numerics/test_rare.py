"""What is rarely needed: the same as `lax.cond`, derivatives too, and free in a sound batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kdediff_jax.numerics import rarely

X = jnp.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]])
Y = jnp.array([1.0, 2.0, 3.0])


def value(x, y, choose):
    """Return a number from arrays, integers and flags of either way."""
    large = jnp.sum(x) > 1
    ways = (
        lambda: (jnp.sin(x) * y, jnp.arange(3), large),
        lambda: (x, jnp.zeros(3, jnp.int32), ~large),
    )
    moved, counts, flag = choose(large, *ways)
    return jnp.sum(moved**2) + jnp.sum(counts).astype(x.dtype) + jnp.where(flag, 1.0, 0.0)


def in_a_scan(x, choose):
    def step(s, _):
        return s * 0.9 + 0.01 * value(s, Y, choose), None

    return jnp.sum(lax.scan(step, x, length=4)[0])


CASES = {
    "batch": lambda choose: jax.vmap(lambda x: value(x, Y, choose))(X),
    "gradient in a batch": lambda choose: jax.vmap(jax.grad(lambda x: value(x, Y, choose)))(X),
    "gradient of a batch": lambda choose: jax.grad(
        lambda y: jnp.sum(jax.vmap(lambda x: value(x, y, choose))(X))
    )(Y),
    "hessian": lambda choose: jax.jit(jax.hessian(lambda x: value(x, Y, choose)))(X[1]),
    "forward": lambda choose: jax.jvp(lambda x: value(x, Y, choose), (X[0],), (X[1],)),
    "scan": lambda choose: jax.grad(lambda x: in_a_scan(x, choose))(X[1]),
    "batch of scans": lambda choose: jax.jit(
        jax.grad(lambda x: jnp.sum(jax.vmap(lambda x: in_a_scan(x, choose))(x)))
    )(X),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_a_conditional(case):
    got, expected = CASES[case](rarely), CASES[case](lax.cond)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, expected)


@pytest.mark.parametrize("needed", [False, True])
def test_the_way_not_taken_has_no_say_in_the_derivative(needed):
    """The root's derivative is infinite at 0, and its value at -1 not a number."""
    root = (lambda x: jnp.sqrt(x)), (lambda x: 3 * x)

    def chosen(x, flag):
        instead, usually = root if not needed else root[::-1]
        return rarely(flag, lambda: instead(x), lambda: usually(x))

    for x in (0.0, -1.0):
        gradient = jax.vmap(jax.grad(chosen))(jnp.array([x]), jnp.array([needed]))
        np.testing.assert_array_equal(gradient, [3.0])


@pytest.mark.parametrize("marked", [[False, False, False], [False, True, False]])
def test_a_batch_pays_only_if_one_of_its_runs_needs_it(marked):
    """Counted by the host, which no program of the package calls."""
    calls = []

    def counted(x):
        jax.debug.callback(lambda _: calls.append(1), x)
        return x + 1

    def one(x, flag):
        return rarely(flag, lambda: counted(x), lambda: x)

    out = jax.jit(jax.vmap(one))(jnp.zeros(3), jnp.array(marked))
    jax.effects_barrier()
    np.testing.assert_array_equal(out, np.asarray(marked, float))
    assert len(calls) == (3 if any(marked) else 0)


def test_the_compiler_leaves_it_in_the_loop():
    """It is the same in every round, and would be moved before the loop, and always paid."""

    def one(x, flag):
        return rarely(flag, lambda: jnp.sort(x), lambda: x)

    arguments = jnp.zeros((3, 50)), jnp.zeros(3, bool)
    text = jax.jit(jax.vmap(one)).lower(*arguments).compile().as_text()
    assert " sort(" in text and " sort(" not in text[text.index("ENTRY ") :]
