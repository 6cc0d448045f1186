"""A function of every row is the same whatever the rows at once, and is compiled once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax.numerics import in_batches


def norms(rows, most):
    return in_batches(lambda row: {"norm": jnp.sum(row[0] ** 2) + row[1]}, rows, most)["norm"]


@pytest.mark.parametrize("n", [1, 4, 5, 8, 9])
def test_rows_in_batches_are_those_one_by_one(n, dtype):
    rng = np.random.default_rng(n)
    x, order = rng.normal(size=(n, 3)).astype(dtype), np.arange(n).astype(dtype)
    rows = jnp.asarray(x), jnp.asarray(order)
    found = norms(rows, 4)
    assert found.shape == (n,) and found.dtype == dtype
    rtol = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, (x**2).sum(axis=1) + order, rtol=rtol)
    slope = jax.grad(lambda x: jnp.sum(norms((x, rows[1]), 4)))(rows[0])
    np.testing.assert_allclose(slope, 2 * x, rtol=rtol)  # copies of the last row count nothing


def test_a_last_batch_that_is_not_full_is_no_second_function():
    traced = []

    def function(row):
        traced.append(row)
        return row

    in_batches(function, jnp.arange(9.0), 4)
    assert len(traced) == 1
