"""Lorenz-05 against its double sums, Lorenz-96, SciPy, and what its equations conserve."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import kdediff_jax as kd
from kdediff_jax.dynamics import Lorenz05II, Lorenz05III


def primed(j, even):
    """Return offsets and weights of the sum, whose ends count half for an even width."""
    offsets = range(-j, j + 1)
    return [(i, 0.5 if even and abs(i) == j else 1.0) for i in offsets]


def double_sum(x, y, width):
    """Return Eq. 9 of the paper, term by term."""
    d, out = len(x), np.zeros(len(x))
    sums = primed(width // 2 if width % 2 == 0 else (width - 1) // 2, width % 2 == 0)
    for n in range(d):
        for j, wj in sums:
            for i, wi in sums:
                out[n] += wi * wj * (
                    -x[(n - 2 * width - i) % d] * y[(n - width - j) % d]
                    + x[(n - width + j - i) % d] * y[(n + width + j) % d]
                )  # fmt: skip
    return out / width**2


def smooth(z, reach):
    """Return the large scales of Eq. 13a, term by term."""
    alpha = (3 * reach**2 + 3) / (2 * reach**3 + 4 * reach)
    beta = (2 * reach**2 + 1) / (reach**4 + 2 * reach**2)
    d = len(z)
    return np.array(
        [
            sum(w * (alpha - beta * abs(i)) * z[(n + i) % d] for i, w in primed(reach, even=True))
            for n in range(d)
        ]
    )


def state(d):
    s = 2 * np.pi * np.arange(d) / d
    return 2 + 3 * np.cos(2 * s) + np.sin(5 * s + 1) + 0.3 * np.cos(11 * s)


def by_hand_ii(x, width):
    return double_sum(x, x, width) - x + 8.0


def by_hand_iii(z, width, reach):
    x = smooth(z, reach)
    y = z - x
    fast = 10**2 * double_sum(y, y, 1) + 2.5 * double_sum(y, x, 1)
    return double_sum(x, x, width) + fast - z + 8.0


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_tendency_is_the_papers_double_sum(dtype, width):
    x = state(24)
    found = Lorenz05II(width, forcing=8.0).tendency(jnp.asarray(x, dtype))
    small = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(found, by_hand_ii(x, width), atol=small)
    model = Lorenz05III(width, forcing=8.0, reach=2)
    found = model.tendency(jnp.asarray(x, dtype))
    np.testing.assert_allclose(found, by_hand_iii(x, width, 2), atol=100 * small)
    assert found.dtype == dtype


def test_width_one_is_lorenz96(dtype, key):
    x = jnp.asarray(state(40), dtype)
    ours = Lorenz05II(1, forcing=8.0, substeps=3).step(key, x, 0.0)
    theirs = kd.Lorenz96(substeps=3).step(key, x, 0.0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=50 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("model", "right"),
    [(Lorenz05II(2, 8.0), lambda t, x: by_hand_ii(x, 2)),
     (Lorenz05III(2, 8.0, reach=2), lambda t, x: by_hand_iii(x, 2, 2))],
)  # fmt: skip
def test_default_steps_are_fine_enough_and_converge_at_fourth_order(x64, key, model, right):
    x, interval = state(16), float(model.interval)
    exact = solve_ivp(right, (0, interval), x, rtol=1e-10, atol=1e-11, method="DOP853").y[:, -1]

    def error(substeps):
        kind = type(model)
        more = {"reach": 2} if kind is Lorenz05III else {}
        step = eqx.filter_jit(kind(2, 8.0, substeps=substeps, **more).step)
        return np.abs(np.asarray(step(key, jnp.asarray(x), 0.0)) - exact).max()

    coarse, fine = error(model.substeps // 2), error(model.substeps)
    assert coarse / fine == pytest.approx(16, rel=0.25)
    assert fine < 1e-4


@pytest.mark.parametrize("width", [2, 3])
def test_advection_conserves_energy_and_the_filter_keeps_parabolas(x64, width):
    x = jax.random.normal(jax.random.key(3), (30,))
    model = Lorenz05II(width, forcing=0.0)
    np.testing.assert_allclose(jnp.sum(x * (model.tendency(x) + x)), 0, atol=1e-12)
    parabola = jnp.arange(60.0) ** 2 - 20 * jnp.arange(60.0) + 3
    inside = Lorenz05III(4, reach=5).large_scales(parabola)[5:-5]
    np.testing.assert_allclose(inside, parabola[5:-5], rtol=1e-12)


def test_climatology(key):
    """On the attractor d/dt of the energy vanishes in the mean: mean X^2 = F mean X.

    Waves of the smoother model are longer: of about d / K / 4 to d / K / 5 periods, as those of
    Lorenz-96 have a length of four to five sites.
    """
    d, width, forcing = 240, 8, 15.0
    model = Lorenz05II(width, forcing)

    def one(x, _):
        x = model.step(key, x, 0.0)
        return x, x

    start = forcing / 4 + jax.random.normal(key, (d,))
    _, path = jax.jit(lambda x: jax.lax.scan(one, x, length=2000))(start)
    path = np.asarray(path[400:], float)
    assert (path**2).mean() == pytest.approx(forcing * path.mean(), rel=0.02)
    assert path.std(axis=0).min() > 1  # chaos, not a fixed point
    power = (abs(np.fft.rfft(path, axis=1)) ** 2).mean(axis=0)[1:]
    assert d / width / 6 < 1 + np.argmax(power) < d / width / 3.5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Lorenz05II(0), "width: expected at least 1"),
        (lambda: Lorenz05III(2, reach=5), "reach: expected at most twice the width, 4"),
        (lambda: Lorenz05III(reach=0), "reach: expected at least 1"),
        (lambda: Lorenz05II(3).step(None, jnp.ones(11), 0.0), "d >= 12"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
