"""Products, roots, missing components: values, derivatives where they are infinite, NaN."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from kdediff_jax.numerics import (
    centred,
    dot,
    masked_covariance,
    safe_sqrt,
    split_missing,
    standard_deviation,
)


def test_the_product_of_many_factors_has_full_precision(dtype):
    rng = np.random.default_rng(0)
    factors = [rng.normal(size=shape).astype(dtype) for shape in ((3, 50), (50, 40), (40, 2))]
    wide = np.linalg.multi_dot([factor.astype(float) for factor in factors])
    got = dot(*map(jnp.asarray, factors))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, wide, atol=200 * float(jnp.finfo(dtype).eps))
    text = jax.jit(dot).lower(*map(jnp.asarray, factors)).as_text()
    # never TF32 on a GPU, never bfloat16 on a TPU
    assert text.count("dot_general") == text.count("precision = [HIGHEST, HIGHEST]") == 2


def test_safe_root_and_its_derivative(dtype):
    x = jnp.asarray([4.0, 0.0, -1.0, np.nan, np.inf], dtype)
    np.testing.assert_array_equal(safe_sqrt(x), [2, 0, 0, np.nan, np.inf])
    np.testing.assert_array_equal(safe_sqrt(x, otherwise=3.0), [2, 3, 3, np.nan, np.inf])
    assert safe_sqrt(x).dtype == dtype
    for order in (jax.grad, jax.jacfwd):
        slopes = jax.vmap(order(safe_sqrt))(x)
        np.testing.assert_array_equal(slopes, [0.25, 0, 0, np.nan, 0])
    # times zero, as after a mask, it stays zero
    assert jax.grad(lambda v: 0 * safe_sqrt(v))(jnp.zeros((), dtype)) == 0


def test_standard_deviations_are_never_zero(dtype):
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(dtype)
    x[:, 1] = 5
    wanted = x.std(axis=0)
    wanted[1] = 1
    np.testing.assert_allclose(standard_deviation(jnp.asarray(x)), wanted, rtol=1e-5)
    np.testing.assert_allclose(centred(jnp.asarray(x)), x - x.mean(axis=0), atol=1e-6)
    assert np.isfinite(jax.grad(lambda x: jnp.sum(standard_deviation(x)))(jnp.asarray(x))).all()


def test_missing_components_are_cut_off(dtype):
    y = jnp.asarray([1.0, np.nan, 3.0], dtype)
    known, measured = split_missing(y)
    np.testing.assert_array_equal(known, [1, 0, 3])
    np.testing.assert_array_equal(measured, [True, False, True])
    r = jnp.asarray([[2.0, 9.0, 0.5], [9.0, np.nan, 9.0], [0.5, 9.0, 4.0]], dtype)
    masked = masked_covariance(r, measured)
    assert masked.dtype == dtype
    np.testing.assert_array_equal(masked, [[2, 0, 0.5], [0, 1, 0], [0.5, 0, 4]])
    np.testing.assert_array_equal(masked_covariance(masked, jnp.ones(3, bool)), masked)
