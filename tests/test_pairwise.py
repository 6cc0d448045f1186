"""Tiled pairwise sums against the dense formula, in value, gradient and memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import pairwise

Q, N = 11, 13  # 4 and 3 divide neither
softmax_shift = jax.jit(pairwise.softmax_shift, static_argnames="tile")


def problem(d, dtype, seed=0):
    rng = np.random.default_rng(seed)
    arrays = (
        rng.normal(size=(Q, d)),
        rng.normal(size=(N, d)),
        np.log(rng.dirichlet(np.ones(N))),
        rng.uniform(0.5, 2, d),
    )
    return tuple(jnp.asarray(a, dtype) for a in arrays)


def dense(queries, centres, log_weights, tau, xp=jnp):
    """The docstring's formula with every pair at once."""
    scaled = (queries[:, None] - centres[None]) / tau[None, None]
    logits = log_weights[None] - 0.5 * xp.sum(scaled**2, axis=2)
    p = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    total = xp.sum(p, axis=1)
    return p @ centres / total[:, None] - queries, xp.max(logits, axis=1) + xp.log(total)


def dense64(*args):
    """The same in float64 NumPy."""
    return dense(*(np.asarray(a, np.float64) for a in args), xp=np)


def assert_close(got, wanted, dtype, factor=200):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        scale = np.max(np.abs(b))
        np.testing.assert_allclose(a, b, atol=factor * float(jnp.finfo(dtype).eps) * scale)


@pytest.mark.parametrize(
    ("tile", "d"),  # d = 2 takes differences, d = 20 one product
    [(t, 2) for t in (None, (1, 1), (4, 3), (4, 100), (100, 3))] + [((4, 3), 20), ((1, 100), 20)],
)
def test_any_tile_equals_the_dense_formula(dtype, tile, d):
    args = problem(d, dtype)
    got = softmax_shift(*args, tile=tile)
    assert got[0].shape == (Q, d) and got[1].shape == (Q,)
    assert got[0].dtype == got[1].dtype == dtype
    # rounding: |x|^2/tau^2 is about 100 at d = 20
    assert_close(got, dense64(*args), dtype)


@pytest.mark.parametrize("tile", [None, (4, 3)])
@pytest.mark.parametrize("masked", [slice(0, 7), slice(6, 13), slice(3, 9)])
def test_a_tile_of_masked_centres_says_nothing(dtype, tile, masked):
    queries, centres, log_weights, tau = problem(2, dtype)
    off = np.zeros(N, bool)
    off[masked] = True
    weights = jnp.asarray(np.where(off, -np.inf, log_weights), dtype)
    moved = jnp.asarray(np.where(off[:, None], 50, centres), dtype)
    got = softmax_shift(queries, moved, weights, tau, tile=tile)
    assert_close(got, dense64(queries, centres[~off], log_weights[~off], tau), dtype)


def test_far_queries_do_not_underflow(dtype):
    queries, *rest = problem(2, dtype)
    args = (queries + 1e3, *rest)
    # logits are about 1e6: a plain exponential would be 0 / 0
    assert_close(softmax_shift(*args, tile=(4, 3)), dense64(*args), dtype)


@pytest.mark.parametrize(("tile", "d"), [(None, 2), ((4, 3), 2), ((4, 3), 20)])
def test_gradients_pass_through_the_tiles(x64, tile, d):
    queries, centres, log_weights, tau = problem(d, x64)
    args = (queries, centres, log_weights.at[4:9].set(-jnp.inf), tau)  # one whole tile is off
    rng = np.random.default_rng(5)
    # one weighted sum of all outputs sees every entry of the Jacobian
    row, column = (jnp.asarray(rng.normal(size=s)) for s in ((Q, d), Q))
    tangents = tuple(jnp.asarray(rng.normal(size=a.shape)) for a in args)

    def total(function, *a):
        shift, log_sum = function(*a)
        return jnp.sum(row * shift) + jnp.sum(column * log_sum)

    def tiled(*a):
        return total(lambda *a: pairwise.softmax_shift(*a, tile=tile), *a)

    every = (0, 1, 2, 3)
    wanted = jax.jit(jax.grad(lambda *a: total(dense, *a), every))(*args)
    assert_close(jax.jit(jax.grad(tiled, every))(*args), wanted, x64, factor=2000)
    forward = jax.jit(lambda *a: jax.jvp(tiled, a, tangents)[1])(*args)
    assert_close(forward, sum(np.vdot(g, t) for g, t in zip(wanted, tangents, strict=True)), x64)


@pytest.mark.parametrize(("tile", "d"), [(None, 3), ((128, 512), 20)])
@pytest.mark.parametrize("reverse", [False, True])
def test_no_array_of_all_pairs_exists(reverse, d, tile):
    if tile is None and jax.default_backend() != "cpu":
        pytest.skip("an accelerator's own tile holds this many members at once")
    n = 32768

    def forward(*args):
        return pairwise.softmax_shift(*args, tile=tile)

    def loss(*args):
        shift, log_sum = forward(*args)
        return jnp.sum(shift**2) + jnp.sum(log_sum)

    function = jax.grad(loss, (0, 1, 2, 3)) if reverse else forward
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((n, d), (n, d), (n,), (d,))]
    compiled = jax.jit(function).lower(*shapes).compile()
    used = compiled.memory_analysis().temp_size_in_bytes
    assert used < n * n * 4 / 32, f"{used / 2**20:.1f} MiB of temporaries"
    assert f"[{n},{n}]" not in compiled.as_text()


def test_product_path_agrees_with_differences(dtype, monkeypatch):
    args = problem(12, dtype)
    by_differences = softmax_shift(*args)
    monkeypatch.setattr(pairwise, "DIFFERENCES_UP_TO", 11)
    # a new lambda: jit would find the old program under the old function
    assert_close(jax.jit(lambda *a: pairwise.softmax_shift(*a))(*args), by_differences, dtype)


@pytest.mark.parametrize(("tile", "d"), [(None, 1), ((4, 3), 1), ((4, 3), 20)])
def test_mean_distance_is_the_mean_over_all_pairs(dtype, tile, d):
    a, b, *_ = problem(d, dtype)
    wide_a, wide_b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    wanted = np.mean(np.linalg.norm(wide_a[:, None] - wide_b[None], axis=2))
    got = jax.jit(lambda a, b: pairwise.mean_distance(a, b, tile=tile))(a + 100, b + 100)
    assert got.dtype == dtype
    # adding 100 rounds the coordinates by 100 eps
    np.testing.assert_allclose(got, wanted, rtol=200 * jnp.finfo(dtype).eps)


def test_mean_distance_to_itself_has_a_finite_gradient(x64):
    a = problem(3, x64)[0]

    def dense_mean(x):
        off = ~np.eye(Q, dtype=bool)
        squared = jnp.sum((x[:, None] - x[None]) ** 2, axis=2)
        return jnp.sum(jnp.where(off, jnp.sqrt(jnp.where(off, squared, 1)), 0)) / Q**2

    got = jax.jit(jax.grad(lambda x: pairwise.mean_distance(x, x, tile=(4, 3))))(a)
    assert_close(got, jax.jit(jax.grad(dense_mean))(a), x64)


@pytest.mark.parametrize(
    ("tile", "error", "name"),
    [
        ((0, 4), ValueError, r"tile\[0\]"),
        ((4, 0), ValueError, r"tile\[1\]"),
        ((4.0, 4), TypeError, r"tile\[0\]"),
        ((4, True), TypeError, r"tile\[1\]"),
    ],
)
def test_a_bad_tile_is_named(tile, error, name):
    with pytest.raises(error, match=name):
        pairwise.softmax_shift(*problem(2, jnp.float32), tile=tile)
    with pytest.raises(error, match=name):
        pairwise.mean_distance(*problem(2, jnp.float32)[:2], tile=tile)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 4097])
def test_default_tiles_split_evenly_and_never_exceed_the_data(n):
    rows, columns = pairwise.default_tile(n, n, 4)
    for tile in (rows, columns):
        parts = -(-n // tile)
        assert 1 <= tile <= n
        assert parts * tile - n < parts  # padding below one row per tile


def test_more_numbers_than_int32_can_count():
    n, d = 120_000_000, 20  # compiled only: 2.4e9 numbers in the queries and in the centres each
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((n, d), (n, d), (n,), ())]
    compiled = jax.jit(pairwise.softmax_shift).lower(*shapes).compile()
    plan = compiled.memory_analysis()
    assert plan.argument_size_in_bytes > 2 * 2**31 * 4
    # copies of what came in, padded to whole tiles, and no more
    assert 0 < plan.temp_size_in_bytes < 5 * n * (d + 1) * 4
