"""What holds for every score: jit and vmap change nothing, bad arguments are named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import metrics

_SCORES = {
    "rmse": lambda x, y: metrics.rmse(x.mean(axis=-2), y),
    "spread": lambda x, y: metrics.spread(x),
    "effective_sample_size": lambda x, y: metrics.effective_sample_size(x[..., 0]),
    "crps": metrics.crps,
    "energy_score": metrics.energy_score,
    "sliced": lambda x, y: metrics.sliced_wasserstein2(jax.random.key(0), x[0], x[1, :4]),
    "rank_histogram": lambda x, y: metrics.rank_histogram(x, y, key=jax.random.key(0)),
    "rank_flatness": lambda x, y: metrics.rank_flatness(metrics.rank_histogram(x, y), 2)[1],
    "coverage": metrics.coverage,
}


@pytest.mark.parametrize("name", _SCORES)
def test_jit_and_vmap_change_nothing(name, dtype, sample):
    score = _SCORES[name]
    x, y = jnp.asarray(sample(dtype, 6, 5, 3)), jnp.asarray(sample(dtype, 6, 3, seed=1))
    want = score(x, y)
    twice = jax.jit(jax.vmap(score))(jnp.stack([x, x]), jnp.stack([y, y]))
    np.testing.assert_allclose(twice, np.stack([want, want]), rtol=1e-5)


_BAD = [
    (lambda: metrics.rmse(jnp.zeros((3, 2)), jnp.zeros((3, 1))), ValueError, "truth.*mean"),
    (lambda: metrics.rmse(jnp.zeros((2,), int), jnp.zeros((2,))), TypeError, "mean.*int"),
    (lambda: metrics.rmse(jnp.zeros(()), jnp.zeros(())), ValueError, "mean: .*1 axes"),
    (lambda: metrics.spread(jnp.zeros((4, 1, 2))), ValueError, "ensemble.*2 members"),
    (lambda: metrics.crps(jnp.zeros((4, 5, 2)), jnp.zeros((5, 2))), ValueError, r"truth.*\(4, 2\)"),
    (lambda: metrics.crps(jnp.zeros((1, 2)), jnp.zeros((2,)), fair=True), ValueError, "2 members"),
    (lambda: metrics.energy_score(jnp.zeros((5, 2)), jnp.zeros((3,))), ValueError, "truth"),
    (
        lambda: metrics.crps(jnp.zeros((5, 2)), jnp.zeros((2,), jnp.float16)),
        TypeError,
        "truth: expected the dtype of ensemble",
    ),
    (lambda: metrics.wasserstein2(np.zeros((3, 2)), np.zeros((3, 1))), ValueError, "coordinates"),
    (lambda: metrics.wasserstein2(np.zeros(3), np.zeros((3, 1))), ValueError, "a: expected shape"),
    (
        lambda: metrics.wasserstein2(np.zeros((3, 1)), np.ones((3, 1)), weights_a=np.ones(2)),
        ValueError,
        "weights_a",
    ),
    (
        lambda: metrics.wasserstein2(np.zeros((2, 1)), np.ones((2, 1)), weights_b=[1.0, -1.0]),
        ValueError,
        "weights_b",
    ),
    (
        lambda: metrics.sliced_wasserstein2(
            jax.random.key(0), jnp.zeros((3, 2)), jnp.zeros((3, 4))
        ),
        ValueError,
        "b: expected shape",
    ),
    (
        lambda: metrics.rank_histogram(jnp.zeros((5, 2)), jnp.zeros((2,))),
        ValueError,
        "cycles, members",
    ),
    (
        lambda: metrics.rank_histogram(jnp.zeros((4, 5, 2)), jnp.zeros((4, 1))),
        ValueError,
        "truths.*ensembles",
    ),
    (lambda: metrics.rank_flatness(jnp.zeros(4)), TypeError, "counts"),
    (lambda: metrics.rank_flatness(jnp.zeros(4, int), 5), ValueError, "num_bins"),
    (
        lambda: metrics.coverage(jnp.zeros((2, 5, 1)), jnp.zeros((2, 1)), 1.0),
        ValueError,
        "level",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), _BAD)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
