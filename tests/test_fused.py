"""The fused kernel in interpreter mode, its lowering for CUDA, and what happens without a GPU."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax import fused, pairwise

# queries, centres, coordinates, values (None: the centres); none is a whole number of tiles
SIZES = ((300, 1000, 3, None), (5, 7, 1, 2), (130, 700, 20, None), (3, 70, 128, 3))


def problem(q, n, d, v, each=False):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype("float32") for shape in ((q, d), (n, d), (n, v or 1))]
    log_weights = rng.normal(size=n).astype("float32")
    log_weights[n // 2] = -np.inf
    tau = np.float32(0.4 * d**0.5) * (np.linspace(0.8, 1.3, d, dtype="float32") if each else 1)
    return arrays[0], arrays[1], None if v is None else arrays[2], log_weights, tau


def by_hand(x, c, values, log_weights, tau):
    """Return the sums of the module's equation, in float64."""
    values = c if values is None else values
    logits = log_weights - 0.5 * (((x[:, None].astype(float) - c[None]) / tau) ** 2).sum(axis=2)
    top = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - top)
    total = weights.sum(axis=1, keepdims=True)
    return weights @ values / total, (top + np.log(total))[:, 0]


def interpreted(x, c, values, log_weights, tau, tile=None):
    return fused.kernel(x, c, values, log_weights, tau, tile, True)


def compiled_for_cuda(x, c, values, log_weights, tau):
    return fused.kernel(x, c, values, log_weights, tau, None, False)


@pytest.fixture
def fresh():
    """Forget what an earlier check found."""
    fused.works.cache_clear()
    yield
    fused.works.cache_clear()


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_sum_over_all_pairs(size, each):
    arguments = problem(*size, each)
    for got, expected in zip(jax.jit(interpreted)(*arguments), by_hand(*arguments), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("tile", [(128, 1, 1), (256, 5, 3), (128, 8, 40)])
def test_tiles_change_nothing(tile):
    arguments = problem(*SIZES[0])
    call = jax.jit(functools.partial(interpreted, tile=fused.Tile(*tile)))
    for got, expected in zip(call(*arguments), by_hand(*arguments), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=5e-6)


def test_the_rule_fills_the_device_and_bounds_the_parts():
    for n in (1, 100, 4096, 16384, 1_000_000):
        for d in (1, 3, 20, 128):
            tile = fused.tile_for(n, n, d)
            blocks = -(-n // tile.rows)
            assert tile.rows % 128 == 0 and tile.chunk >= 1
            assert tile.splits == 1 or tile.splits * blocks <= fused.BLOCKS
            assert tile.splits <= max(1, n // 256)
    assert fused.tile_for(16384, 16384, 3).splits * 64 == fused.BLOCKS


def test_a_batch_is_a_loop():
    x, c, _, b, _ = problem(*SIZES[0])
    batch = np.stack([x, x + 1, x - 1])[:, :150]
    taus = np.float32([0.3, 0.5, 0.9])

    def one(x, tau):
        return interpreted(x, c, None, b, tau)

    # the centres are common, the queries a batch, the widths a batch of their own
    got = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(batch, taus)
    call = jax.jit(one)
    for i in range(3):
        for j in range(3):
            for a, e in zip(got, call(batch[i], taus[j]), strict=True):
                np.testing.assert_allclose(a[i, j], e, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("v", [None, 2])
def test_derivatives_are_those_of_the_tiles(v):
    x, c, values, b, tau = problem(40, 60, 3, v, each=True)
    b[~np.isfinite(b)] = -1.0

    def loss(call, *arguments):
        mean, log_sum = call(*arguments)
        return jnp.sum(mean**2) + jnp.sum(jnp.sin(log_sum))

    def tiled(x, c, values, b, tau):
        return pairwise.softmax_mean(x, c, c if values is None else values, b, tau)

    which = (0, 1, 3, 4) if v is None else (0, 1, 2, 3, 4)
    arguments = x, c, values, b, tau
    ours, theirs = (
        jax.jit(jax.grad(functools.partial(loss, call), which))(*arguments)
        for call in (interpreted, tiled)
    )
    for a, e in zip(ours, theirs, strict=True):
        assert np.abs(e).max() > 1e-2
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)
    moved = jax.jvp(lambda tau: loss(interpreted, x, c, values, b, tau), (tau,), (tau,))[1]
    np.testing.assert_allclose(moved, ours[-1] @ tau, rtol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_it_compiles_to_one_kernel_for_cuda(size):
    arguments = problem(*size)
    traced = jax.jit(compiled_for_cuda).trace(*arguments)
    assert traced.lower(lowering_platforms=("cuda",)).as_text().count("mosaic_gpu") >= 1


def test_a_batch_compiles_for_cuda():
    x, c, _, b, tau = problem(*SIZES[0])

    def one(x, tau):
        return compiled_for_cuda(x, c, None, b, tau)

    traced = jax.jit(jax.vmap(one)).trace(np.stack([x, x]), np.stack([tau, tau]))
    assert "mosaic_gpu" in traced.lower(lowering_platforms=("cuda",)).as_text()


def test_without_a_gpu_one_warning_and_the_tiles(fresh):
    x, c, _, b, tau = problem(*SIZES[0])
    with pytest.warns(UserWarning, match="core 'fused' is not used on this device"):
        got = jax.jit(fused.softmax_shift)(x, c, b, tau)
    again = jax.jit(lambda *a: fused.softmax_shift(*a))(x, c, b, tau)  # warnings are errors here
    expected = jax.jit(pairwise.softmax_shift)(x, c, b, tau)
    for a, b_, e in zip(got, again, expected, strict=True):
        np.testing.assert_array_equal(a, e)
        np.testing.assert_array_equal(b_, e)


def test_wrong_numbers_are_not_used(fresh, monkeypatch):
    kernel = fused.kernel

    def off(x, c, values, b, tau, tile, interpret):
        mean, log_sum = kernel(x, c, values, b, tau, tile, True)
        return mean * 1.001, log_sum

    monkeypatch.setattr(fused, "kernel", off)
    with pytest.warns(UserWarning, match="its numbers are off by"):
        assert not fused.works()


@pytest.fixture
def on_this_device(fresh, monkeypatch):
    """Run the kernel in interpreter mode wherever it is asked for; give the calls traced so far."""
    kernel, calls = fused.kernel, []

    def interpreter(*arguments):
        calls.append(arguments)
        return kernel(*arguments[:6], True)

    monkeypatch.setattr(fused, "kernel", interpreter)
    return calls


@pytest.mark.parametrize("solver", [None, diffrax.Dopri5()])
def test_the_flow_by_the_kernel_is_the_flow(on_this_device, key, solver):
    assert fused.works()
    checked = len(on_this_device)
    given = {} if solver is None else {"solver": solver}
    c = jax.random.normal(key, (50, 2))

    def draw(core, h):
        flow = kd.ProbabilityFlow(core=core, **given)
        return flow.sample(c[::-1], c, -(c[:, 0] ** 2), h)

    hs = jnp.array([0.3, 0.6])
    ours, theirs = (
        jax.jit(jax.vmap(functools.partial(draw, core)))(hs) for core in ("fused", "tiled")
    )
    assert len(on_this_device) > checked  # it was the kernel, not the tiles twice
    np.testing.assert_array_equal(ours[1].num_steps, theirs[1].num_steps)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-3)
    assert np.abs(ours[0][0] - ours[0][1]).max() > 0.05


def test_float64_takes_the_tiles(x64, fresh):
    x, c, _, b, tau = (None if a is None else np.float64(a) for a in problem(20, 30, 2, None))
    shift, log_sum = fused.softmax_shift(jnp.asarray(x), jnp.asarray(c), jnp.asarray(b), tau)
    assert shift.dtype == log_sum.dtype == jnp.float64
    mean, expected = by_hand(x, c, None, b, tau)
    np.testing.assert_allclose(shift, mean - x, rtol=1e-10)
    np.testing.assert_allclose(log_sum, expected, rtol=1e-10)
    assert fused.works.cache_info().currsize == 0  # not even asked


def test_unknown_core_is_named():
    with pytest.raises(ValueError, match="core"):
        kd.ProbabilityFlow(core="fast")


def test_the_benchmark_is_ready_for_a_gpu():
    root = Path(__file__).parents[1]
    script = root / "benchmarks" / "speed" / "fused_kernel.py"
    shown = subprocess.run(
        [sys.executable, str(script), "--rehearse"],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert shown.returncode == 0, shown.stderr
    assert "'rule / best'" in shown.stdout and "temporaries of the gradient" in shown.stdout
