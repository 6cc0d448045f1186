"""Resampling: expected counts, zero weights, spatial order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax.ensemble.resampling import SCHEMES, resample, sort_along_principal_axis

WEIGHTS = np.array([0.0, 0.31, 0.0, 0.02, 0.27, 0.0, 0.4, 0.0])
REPEATS = 2000


def counts_of(key, scheme, n, dtype):
    """Counts [repeats, members] over many keys; log-weights are not normalised."""
    with np.errstate(divide="ignore"):
        log_weights = jnp.asarray(np.log(WEIGHTS) + 40, dtype)
    draw = jax.jit(jax.vmap(lambda k: resample(k, log_weights, n, scheme)))
    index = np.asarray(draw(jax.random.split(key, REPEATS)))
    assert index.shape == (REPEATS, n)
    return np.stack([(index == i).sum(axis=1) for i in range(len(WEIGHTS))], axis=1)


@pytest.mark.parametrize("n", [7, 50])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_expected_counts_are_n_times_the_weight(key, dtype, scheme, n):
    counts = counts_of(key, scheme, n, dtype)
    wanted = n * WEIGHTS
    assert np.all(counts.sum(axis=1) == n)
    # a binomial's standard error is the largest of the three
    error = 5 * np.sqrt(wanted * (1 - WEIGHTS) / REPEATS)
    assert np.all(np.abs(counts.mean(axis=0) - wanted) <= error)
    assert np.all(counts[:, WEIGHTS == 0] == 0)
    if scheme != "multinomial":
        # an interval of length w n meets at most two more grid cells than it fills
        bound = 1 if scheme == "systematic" else 2
        assert np.all(np.abs(counts - wanted) < bound)


def test_low_variance_schemes_spread_less(key):
    variance = {s: counts_of(key, s, 50, "float32").var(axis=0).sum() for s in SCHEMES}
    assert variance["systematic"] < variance["stratified"] < 0.5 * variance["multinomial"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_weight_takes_every_draw(key, dtype, scheme):
    for sole in (0, 4):
        log_weights = jnp.full(5, -jnp.inf, dtype).at[sole].set(0)
        assert np.all(np.asarray(resample(key, log_weights, 100, scheme)) == sole)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("extreme", [0.0, 1 - 2.0**-24])
def test_extreme_uniforms_draw_no_member_of_zero_weight(key, monkeypatch, scheme, extreme):
    monkeypatch.setattr(
        jax.random, "uniform", lambda key, shape, dtype: jnp.full(shape, extreme, dtype)
    )
    log_weights = jnp.asarray([-jnp.inf, 0, -jnp.inf, 0, -jnp.inf], jnp.float32)
    index = np.asarray(resample(key, log_weights, 4, scheme))  # points on the jumps of the sum
    assert set(index.tolist()) <= {1, 3}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_many_members_none_of_zero_weight(key, scheme):
    """Sums of 100,000 weights in float32 are not monotone: 2 to 6 impossible members were drawn."""
    dead_key, weight_key, *keys = jax.random.split(key, 12)
    dead = jax.random.bernoulli(dead_key, 0.5, (100_000,))
    log_weights = jnp.where(dead, -jnp.inf, 3 * jax.random.normal(weight_key, dead.shape))
    draw = jax.jit(lambda key: resample(key, log_weights, 100_000, scheme))
    for each in keys:
        assert not np.asarray(dead)[np.asarray(draw(each))].any()


def test_an_unknown_scheme_is_named_with_the_nearest(key):
    with pytest.raises(ValueError, match=r"resampling: .*did you mean 'systematic'"):
        resample(key, jnp.zeros(3), 3, "sistematic")


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("outlier", [0.0, 1e6])  # of a member without weight
def test_sorting_follows_the_principal_axis(dtype, offset, outlier):
    rng = np.random.default_rng(4)
    along, direction = np.arange(10) - 4.5, np.array([2.0, -1.0, 0.5])
    order = rng.permutation(10)
    ensemble = (along[:, None] * direction + 0.05 * rng.normal(size=(10, 3)) + offset)[order]
    ensemble = np.concatenate([ensemble, np.full((1, 3), outlier)])
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.append(rng.dirichlet(np.ones(10)), 0))
    got = sort_along_principal_axis(jnp.asarray(ensemble, dtype), jnp.asarray(log_weights, dtype))
    assert sorted(np.asarray(got)) == list(range(11))
    places = order[[i for i in np.asarray(got) if i < 10]]  # places along the axis
    if places[0] > places[-1]:  # an axis has no sign
        places = places[::-1]
    assert np.array_equal(places, np.arange(10))


def test_sorting_weighs_the_members(dtype):
    # heavy members lie along y, light ones spread widely along x
    ensemble = np.array([[-5, 0], [5, 0.1], [0, -1], [0.1, 1], [0, 0.5], [0, -0.5]])
    log_weights = jnp.asarray(np.log([1e-6, 1e-6, 1, 1, 1, 1]), dtype)
    got = np.asarray(sort_along_principal_axis(jnp.asarray(ensemble, dtype), log_weights))
    heights = ensemble[got][:, 1]
    assert np.all(np.diff(heights) > 0) or np.all(np.diff(heights) < 0)
