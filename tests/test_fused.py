"""The fused kernel, interpreted on a CPU, against float64 NumPy and the tiled sum."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import kde, pairwise
from kdediff_jax.pairwise import choice, fused, tiled


def problem(q, n, d, dtype, seed=0, *, each=False):
    rng = np.random.default_rng(seed)
    arrays = (
        rng.normal(size=(q, d)),
        rng.normal(size=(n, d)),
        np.log(rng.dirichlet(np.ones(n))),
        rng.uniform(0.3, 1.5, d) if each else np.array(0.4),
    )
    return tuple(jnp.asarray(a, dtype) for a in arrays)


def dense64(queries, centres, log_weights, tau):
    x, c, b, tau = (np.asarray(a, np.float64) for a in (queries, centres, log_weights, tau))
    away = c[None] - x[:, None]
    logits = b[None] - 0.5 * np.sum((away / tau) ** 2, axis=2)
    top = logits.max(axis=1, keepdims=True)
    p = np.exp(logits - top)
    total = p.sum(axis=1)
    return np.einsum("qn,qnd->qd", p, away) / total[:, None], top[:, 0] + np.log(total)


# 128 queries are a block and 32 // d centres a chunk: neither divides these
@pytest.mark.parametrize(
    ("q", "n", "d", "each"),
    [
        *((1, 1, 3, False), (5, 300, 1, True), (130, 77, 3, True)),
        *((300, 1000, 3, False), (130, 77, 20, False), (5, 300, 32, True)),
    ],
)
def test_equals_float64(dtype, q, n, d, each):
    args = problem(q, n, d, dtype, each=each)
    shift, log_sum = jax.jit(fused.softmax_shift)(*args)
    assert shift.shape == (q, d) and log_sum.shape == (q,)
    assert shift.dtype == log_sum.dtype == dtype
    wanted, wanted_sum = dense64(*args)
    # logits of d/2 |x/tau|^2, about 20 d, are rounded; an error of a logit is one of its weight
    eps = float(jnp.finfo(dtype).eps)
    tolerance = 20 * eps * max(20 * d, 10)
    np.testing.assert_allclose(shift, wanted, atol=tolerance * np.abs(wanted).max())
    np.testing.assert_allclose(log_sum, wanted_sum, rtol=tolerance, atol=tolerance)


def test_queries_far_away_keep_their_digits():
    """At 1e3 bandwidths exponents of -5e5 would underflow without the running maximum."""
    args = problem(20, 500, 3, jnp.float32)
    far = (args[0] + 400, *args[1:])
    shift, log_sum = fused.softmax_shift(*far)
    wanted, wanted_sum = dense64(*far)
    assert np.isfinite(shift).all()
    np.testing.assert_allclose(log_sum, wanted_sum, rtol=1e-6)
    # the nearest centres differ by little in their logits of 1e6, which float32 holds to .1
    np.testing.assert_allclose(shift, wanted, rtol=5e-3)


@pytest.mark.parametrize("masked", [slice(0, 90), slice(40, 100), slice(1, 100)])
def test_centres_of_no_weight_say_nothing(masked):
    q, c, b, tau = problem(7, 100, 3, jnp.float32)
    found = fused.softmax_shift(q, c, b.at[masked].set(-jnp.inf), tau)
    keep = np.delete(np.arange(100), np.r_[masked])
    wanted = dense64(q, c[keep], b[keep], tau)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5)


def test_batches_under_vmap():
    one = problem(9, 40, 3, jnp.float32)
    two = problem(9, 40, 3, jnp.float32, seed=1)
    taus = jnp.array([0.4, 0.9])
    stacked = [jnp.stack([a, b]) for a, b in zip(one[:3], two[:3], strict=True)]
    found = jax.jit(jax.vmap(fused.softmax_shift))(*stacked, taus)
    for i, args in enumerate((one, two)):
        wanted = fused.softmax_shift(*args[:3], taus[i])
        np.testing.assert_allclose(found[0][i], wanted[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found[1][i], wanted[1], rtol=1e-6)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivatives_are_those_of_the_tiled_sum(x64, mode):
    args = problem(6, 30, 2, jnp.float64, each=True)

    def total(implementation, *args):
        shift, log_sum = implementation(*args)
        return jnp.sum(jnp.sin(shift)) + jnp.sum(log_sum**2)

    every = (0, 1, 2, 3)
    found = mode(lambda *a: total(fused.softmax_shift, *a), argnums=every)(*args)
    wanted = mode(lambda *a: total(tiled.softmax_shift, *a), argnums=every)(*args)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_gradient_matches_finite_differences(x64):
    args = problem(6, 30, 2, jnp.float64, each=True)
    direction = problem(6, 30, 2, jnp.float64, seed=5, each=True)

    def total(step):
        moved = [a + step * b for a, b in zip(args, direction, strict=True)]
        return jnp.sum(jnp.sin(fused.softmax_shift(*moved)[0]))

    step = 1e-6
    wanted = (total(step) - total(-step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(total)(0.0), wanted, rtol=1e-7)


def test_gradient_needs_no_square_of_the_ensemble():
    n = 4096
    args = problem(n, n, 3, jnp.float32)

    def total(*args):
        return jnp.sum(fused.softmax_shift(*args)[0])

    program = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3))).lower(*args).compile()
    assert program.memory_analysis().temp_size_in_bytes < n * n  # a quarter of one float32 square


def test_lowers_to_a_triton_kernel():
    """No GPU is needed to write the kernel's program, only to run it."""
    text = fused_program()
    assert "triton" in text and "softmax_shift" in text
    # differences only: nothing that could be rounded to TF32
    assert "dot_general" not in text


def fused_program():
    def program(*args):
        return fused.launch(*args, interpret=False)

    traced = jax.jit(program).trace(*problem(256, 256, 3, jnp.float32))
    return traced.lower(lowering_platforms=("cuda",)).as_text()


def test_the_implementation_is_chosen_by_argument_and_variable(monkeypatch):
    args = problem(5, 20, 3, jnp.float32)
    calls = []
    real = fused.softmax_shift

    def seen(*args):
        calls.append(len(args))
        return real(*args)

    monkeypatch.setattr(fused, "softmax_shift", seen)
    choice._sound.cache_clear()
    pairwise.softmax_shift(*args)
    pairwise.softmax_shift(*args, implementation="tiled")
    assert calls == []
    by_argument = pairwise.softmax_shift(*args, implementation="fused")
    assert len(calls) == 2  # the self-check, and the call
    monkeypatch.setenv(choice.VARIABLE, "fused")
    by_variable = kde.denoiser(*args) - args[0]
    assert len(calls) == 3
    np.testing.assert_allclose(by_argument[0], by_variable, rtol=1e-4, atol=1e-5)
    # too many coordinates for the registers: the tiled sum
    wide = problem(5, 20, fused.COORDINATES_UP_TO + 1, jnp.float32)
    pairwise.softmax_shift(*wide)
    assert len(calls) == 3


@pytest.mark.parametrize("broken", ["wrong numbers", "an exception"])
def test_a_device_that_gives_wrong_numbers_is_not_used(monkeypatch, broken):
    args = problem(5, 20, 3, jnp.float32)
    real = fused.softmax_shift

    def bad(*args):
        if broken == "an exception":
            raise RuntimeError("no such instruction")
        shift, log_sum = real(*args)
        return shift * 1.001, log_sum

    monkeypatch.setattr(fused, "softmax_shift", bad)
    choice._sound.cache_clear()
    with pytest.warns(RuntimeWarning, match="tiled sum is used instead"):
        found = jax.jit(lambda *a: pairwise.softmax_shift(*a, implementation="fused"))(*args)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        pairwise.softmax_shift(*args, implementation="fused")
    choice._sound.cache_clear()
    wanted = tiled.softmax_shift(*args)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5, atol=1e-6)


def test_bad_input(monkeypatch):
    args = problem(5, 20, 3, jnp.float32)
    with pytest.raises(ValueError, match="implementation: expected one of"):
        pairwise.softmax_shift(*args, implementation="cuda")
    monkeypatch.setenv(choice.VARIABLE, "fastest")
    with pytest.raises(ValueError, match=choice.VARIABLE):
        pairwise.softmax_shift(*args)


def test_offsets_beyond_32_bits_are_not_for_the_kernel():
    assert fused.supports(10**6, 32)
    assert not fused.supports(2**28, 8)
    assert not fused.supports(1000, 33)
