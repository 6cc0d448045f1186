"""Operators: what they measure, every sequence that may name coordinates, bad input."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd


def test_identity_and_linear(dtype):
    x = jnp.arange(4, dtype=dtype)
    np.testing.assert_array_equal(kd.Identity()(x), x)
    h = np.random.default_rng(0).normal(size=(2, 4))
    got = kd.Linear(h)(x)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, h @ np.arange(4), rtol=1e-5)


@pytest.mark.parametrize(
    "indices",
    [
        (2, 0, -1),
        [2, 0, -1],
        np.array([2, 0, -1]),
        np.array([2, 0, -1], np.int8),
        jnp.array([2, 0, -1]),
        [np.int64(2), jnp.int32(0), -1],
    ],
    ids=["tuple", "list", "numpy", "int8", "jax", "scalars"],
)
def test_select_takes_any_sequence_of_integers(indices):
    operator = kd.Select(indices)
    assert operator == kd.Select((2, 0, -1))  # static: one compiled program for all of them
    assert not jax.tree.leaves(operator)
    np.testing.assert_array_equal(eqx.filter_jit(operator)(jnp.arange(4.0)), [2, 0, 3])


def test_select_takes_a_range():
    np.testing.assert_array_equal(kd.Select(range(1, 6, 2))(jnp.arange(6.0)), [1, 3, 5])
    np.testing.assert_array_equal(kd.Select(range(-3, 0))(jnp.arange(6.0)), [3, 4, 5])


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kd.Select(2), TypeError, "indices: expected a sequence of integers, got 2"),
        (lambda: kd.Select((0.0, 1.0)), TypeError, "indices: expected a sequence of integers"),
        (lambda: kd.Select(np.array([0.5])), TypeError, "indices: expected a sequence of integers"),
        (lambda: kd.Select("01"), TypeError, "indices: expected a sequence of integers"),
        (lambda: kd.Select(None), TypeError, "indices: expected a sequence of integers"),
        (lambda: kd.Select(np.array([[0, 1]])), TypeError, "indices: expected"),
        (lambda: kd.Select(()), ValueError, "indices: expected at least one coordinate"),
        (lambda: kd.Select((0, 4))(jnp.ones(4)), ValueError, r"below 4, got \(0, 4\)"),
        (lambda: kd.Select((0, -5))(jnp.ones(4)), ValueError, r"below 4, got \(0, -5\)"),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
