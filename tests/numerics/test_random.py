"""Normals against those of `jax.random`, which they are bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax.numerics import normal

KEY = jax.random.key(7)


def drawn(draw, keys, shape, dtype):
    """Return draws of every key, by one compiled program."""
    each = lambda key: draw(key, shape, dtype)  # noqa: E731
    for _ in range(keys.ndim):
        each = jax.vmap(each)
    return np.asarray(jax.jit(each)(keys))


@pytest.mark.parametrize(
    ("keys", "shape"),
    [
        ((), (1,)),
        ((), ()),
        ((), (101, 3)),
        ((), (5000,)),
        ((), (0,)),
        ((6,), ()),
        ((6,), (5,)),
        ((1,), (5,)),
        ((6,), (2, 3)),
        ((6,), (40,)),
        ((2, 3), (5,)),
    ],
)
def test_of_jax_bit_for_bit(keys, shape, dtype):
    keys = jax.random.split(KEY, keys) if keys else KEY
    found, wanted = (drawn(draw, keys, shape, dtype) for draw in (normal, jax.random.normal))
    assert found.dtype == dtype and found.shape == wanted.shape
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("key", [jax.random.key(3, impl="rbg"), jax.random.PRNGKey(3)])
def test_other_keys_draw_as_jax(key):
    np.testing.assert_array_equal(
        normal(key, (4,), np.float32), jax.random.normal(key, (4,), np.float32)
    )


def test_a_generator_that_is_not_partitionable():
    key = jax.random.split(KEY, 3)
    with jax.threefry_partitionable(False):
        found, wanted = (drawn(draw, key, (4,), np.float32) for draw in (normal, jax.random.normal))
    np.testing.assert_array_equal(found, wanted)


def test_within_a_scan_with_a_gradient():
    """d/ds of the sum of s z over draws in a scan is the sum of z, in both modes."""
    keys = jax.random.split(KEY, (3, 4))

    def total(scale):
        def step(sum_, keys):
            z = jax.vmap(lambda key: scale * normal(key, (5,), scale.dtype))(keys)
            return sum_ + jnp.sum(z), None

        return jax.lax.scan(step, jnp.zeros_like(scale), keys)[0]

    scale = jnp.float32(2)
    wanted = drawn(jax.random.normal, keys, (5,), np.float32).sum()
    for slope in (jax.jit(jax.grad(total))(scale), jax.jacfwd(total)(scale)):
        np.testing.assert_allclose(slope, wanted, rtol=1e-4)
