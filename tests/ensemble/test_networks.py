"""Networks that move: at every time the analysis of measurements that stay there, one program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd

RING = np.arange(40.0)
TIMES = np.array([0.5, 1.0, 1.5])
rng = np.random.default_rng(0)
PLACES = [np.sort(rng.uniform(0, 40, size)) for size in (16, 11, 20)]
NETWORK = kd.MovingNetwork(TIMES, PLACES)


def interpolated(x, places):
    """Return a field on the ring between its sites."""
    below = jnp.floor(places).astype(int)
    part = places - jnp.floor(places)
    return (1 - part) * x[below % 40] + part * x[(below + 1) % 40]


class Ships(kd.GaussianObservation):
    """What a network measures, wherever it is."""

    network: kd.MovingNetwork

    def mean(self, x, t):
        places, _ = self.network.at(t)
        return interpolated(x, places.astype(x.dtype))


class Moored(kd.GaussianObservation):
    """The same, that stays."""

    places: jax.Array

    def mean(self, x, t):
        return interpolated(x, self.places.astype(x.dtype))


def analyse(scheme, key, x, y, observation, t):
    return quick(lambda x, y, t: scheme(key, x, y, observation, t))(x, y, jnp.asarray(t, x.dtype))


def where(radius=1.0, **settings):
    return kd.Localisation(RING, NETWORK, radius, 40.0, **settings)


BLOCKS = kd.AnalysisBlocks(2.0)


@pytest.mark.parametrize(
    ("make", "settings"),
    [(kd.LETKF, {}), (kd.LETKF, {"points": BLOCKS}), (kd.LETKF, {"radius": 4.0}), (kd.LEnKPF, {})],
)
def test_every_time_is_as_a_network_that_stays(x64, key, make, settings):
    x = jax.random.normal(key, (8, 40))
    ys = NETWORK.pad([np.sin(places) for places in PLACES])
    scheme = make(where(**settings))
    assert (scheme.localisation.lists is None) == ("radius" in settings)  # else [T d k]
    observation = Ships(kd.Identity(), 0.5, NETWORK)
    call = quick(lambda y, t: scheme(key, x, y, observation, t))
    for y, t, places in zip(ys, TIMES, PLACES, strict=True):
        out, info = call(y, jnp.asarray(t))
        still = make(kd.Localisation(RING, places, settings.get("radius", 1.0), 40.0,
                                     points=settings.get("points")))  # fmt: skip
        moored = Moored(kd.Identity(), 0.5, jnp.asarray(places))
        expected, wanted = analyse(still, key, x, jnp.sin(jnp.asarray(places)), moored, t)
        assert info.ok and info.num_unreached == wanted.num_unreached
        np.testing.assert_allclose(out, expected, atol=5e-5)  # positions in float32


def test_a_run_over_a_moving_network_is_one_program(dtype, key):
    """Compiled once by `assimilate`; better than no measurement."""
    model = kd.Lorenz96(interval=0.5, substeps=10)
    ships = Ships(kd.Identity(), 0.5, NETWORK)
    start = model.step(key, 8 + jax.random.normal(key, (40,), dtype), 0.0)
    truth, _ = kd.twin_experiment(key, model, ships, start, 3)
    ys = NETWORK.pad([
        np.asarray(interpolated(truth[k], jnp.asarray(places, dtype)))
        for k, places in enumerate(PLACES)
    ]).astype(dtype)  # fmt: skip
    members = start[None] + jax.random.normal(jax.random.key(1), (16, 40), dtype)
    run = kd.assimilate(key, model, ships, kd.LETKF(where(2.0)), members, ys)
    blind = kd.assimilate(
        key, model, ships, kd.LETKF(where(2.0)), members, jnp.full_like(ys, jnp.nan)
    )
    assert run.info.ok.all()
    error, free = (float(jnp.mean(kd.metrics.rmse(r.mean, truth))) for r in (run, blind))
    assert error < 0.9 * free, (error, free)


def test_a_time_that_is_not_known_is_flagged(key):
    x = jax.random.normal(key, (8, 40))
    scheme, observation = kd.LETKF(where()), Ships(kd.Identity(), 0.5, NETWORK)
    y = NETWORK.pad([np.zeros(len(p)) for p in PLACES])[0].astype(x.dtype)
    out, info = analyse(scheme, key, x, y, observation, 7.0)
    assert not info.ok and np.isfinite(out).all()
    _, info = analyse(scheme, key, x, y, observation, 0.5001)
    assert info.ok
    with pytest.raises(ValueError, match="expected a time for a MovingNetwork"):
        scheme.update(key, x, jax.random.normal(key, (8, 20)), y)


def test_neighbours_beyond_the_stated_maximum_are_an_error():
    longest = kd.LETKF(where()).localisation.lists.measured
    most = int(np.max(np.sum(np.asarray(longest) < 20, axis=-1)))
    filled = kd.LETKF(where(max_neighbours=most)).localisation.lists.measured
    assert longest.shape == (3, 40, 8) and filled.shape == (3, 40, most)
    with pytest.raises(ValueError, match=f"max_neighbours: expected at least {most}, .* at time"):
        kd.LETKF(where(max_neighbours=most - 1))
    with pytest.raises(ValueError, match=r"max_neighbours: expected at least 7, .* got 3"):
        kd.LEnKPF(kd.Localisation(RING, RING, 1.0, 40.0, max_neighbours=3))


def test_a_time_may_have_no_component(key):
    network = kd.MovingNetwork([1.0, 2.0], [[], [3.0]])
    scheme = kd.LETKF(kd.Localisation(RING, network, 1.0, 40.0))
    x, observation = jax.random.normal(key, (6, 40)), Ships(kd.Identity(), 0.5, network)
    ys = network.pad([[], [0.5]])
    for t, y, reached in zip((1.0, 2.0), ys, (0, 7), strict=True):
        analysis, info = scheme(key, x, y, observation, t)
        moved = np.any(np.abs(np.asarray(analysis - x)) > 1e-5, axis=0)
        assert info.ok and moved.sum() == reached


def test_times_that_a_floating_type_does_not_tell_apart_know_none(x64):
    network = kd.MovingNetwork(1.7e9 + 10.0 * np.arange(3), PLACES)
    known = [network.known_at(jnp.asarray(1.7e9 + 10, t)) for t in ("float32", "float64")]
    assert known == [False, True]


def test_another_network_within_the_maximum_compiles_nothing_new(key):
    x, y = jax.random.normal(key, (6, 40)), jnp.zeros(24)
    traces = []

    @jax.jit
    def call(network, scheme, t):
        traces.append(1)
        return scheme(key, x, y, Ships(kd.Identity(), 0.5, network), t)[1].ok

    for places in (PLACES, PLACES[::-1], [each[:9] for each in PLACES]):
        network = kd.MovingNetwork(TIMES, places, max_components=24)
        scheme = kd.LETKF(kd.Localisation(RING, network, 1.0, 40.0, max_neighbours=12))
        assert call(network, scheme, jnp.asarray(1.0))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kd.MovingNetwork([1, 1, 2], PLACES), "times: expected increasing"),
        (lambda: kd.MovingNetwork(TIMES[:2], PLACES), "places: expected positions for each of 2"),
        (lambda: kd.MovingNetwork(TIMES, [*PLACES[:2], [np.nan]]), "positions: expected finite"),
        (lambda: kd.MovingNetwork(TIMES, [*PLACES[:2], [[0.0, 1.0]]]), "places: expected shapes"),
        (lambda: kd.MovingNetwork([1, 2], [[], []]), "places: expected a component at one"),
        (
            lambda: kd.MovingNetwork(1.7e9 + 10 * np.arange(3), PLACES),
            r"times: expected numbers that float32 tells apart, got steps of 10 at 1.7e\+09",
        ),
        (
            lambda: kd.MovingNetwork(TIMES, PLACES, max_components=19),
            "max_components: expected at least 20, the components at time 1.5, got 19",
        ),
        (lambda: NETWORK.pad(PLACES[:2]), "values: expected a vector for each of 3 times"),
        (lambda: NETWORK.pad(PLACES[::-1]), r"values: expected shape \(16,\) at time 0"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
