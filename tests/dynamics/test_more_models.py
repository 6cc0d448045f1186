"""Lorenz-84, Lotka–Volterra, Kuramoto–Sivashinsky and the growth model against other code."""

from __future__ import annotations

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kdediff_jax.dynamics import (
    CoordinatedTurn,
    GrowthModel,
    KuramotoSivashinsky,
    Lorenz05II,
    Lorenz84,
    LotkaVolterra,
    NavierStokes,
)

FOUR = np.array([0.3, 0.2, 0.25, 0.4])


def lorenz84(t, x):
    a, b, f, g = 0.25, 4.0, 8.0, 1.0
    return [
        -(x[1] ** 2) - x[2] ** 2 - a * x[0] + a * f,
        x[0] * x[1] - b * x[0] * x[2] - x[1] + g,
        b * x[0] * x[1] + x[0] * x[2] - x[2],
    ]


def lotka_volterra(t, x):
    rates = [1, 0.72, 1.53, 1.27]
    competition = [
        [1, 1.09, 1.52, 0],
        [0, 1, 0.44, 1.36],
        [2.33, 0, 1, 0.47],
        [1.21, 0.51, 0.35, 1],
    ]
    d = range(4)
    return [rates[i] * x[i] * (1 - sum(competition[i][j] * x[j] for j in d)) for i in d]


@pytest.mark.parametrize(
    ("model", "tendency", "x", "interval"),
    [
        (Lorenz84, lorenz84, np.array([1.2, -0.4, 0.7]), 0.4),
        (LotkaVolterra, lotka_volterra, FOUR, 5.0),
    ],
)
def test_converges_to_scipys_solution_at_fourth_order(x64, key, model, tendency, x, interval):
    exact = solve_ivp(tendency, (0, interval), x, rtol=1e-12, atol=1e-13, method="DOP853").y[:, -1]

    def error(substeps):
        step = eqx.filter_jit(model(interval=interval, substeps=substeps).step)
        return np.abs(np.asarray(step(key, jnp.asarray(x), 0.0)) - exact).max()

    coarse, fine = error(20), error(40)
    # halving the step divides the error by 2^4, up to the next order's share
    assert coarse / fine == pytest.approx(16, rel=0.2)
    assert fine < 1e-5


def test_default_steps_are_fine_enough(x64, key):
    """An interval's error is far below any measurement noise."""
    for model, tendency, x in (
        (Lorenz84(), lorenz84, [1.2, -0.4, 0.7]),
        (LotkaVolterra(), lotka_volterra, FOUR),
    ):
        interval = float(model.interval)
        exact = solve_ivp(tendency, (0, interval), x, rtol=1e-10, atol=1e-12).y[:, -1]
        np.testing.assert_allclose(model.step(key, jnp.asarray(x), 0.0), exact, atol=2e-4)


def test_parameters_reach_the_equations(x64):
    x = jnp.asarray([1.0, 2.0, 3.0])
    model = Lorenz84(a=0.5, b=2.0, forcing=6.0, asymmetry=1.5)
    # -4 - 9 - 0.5 (1 - 6), 2 - 6 - 2 + 1.5, 4 + 3 - 3
    np.testing.assert_allclose(model.tendency(x), [-10.5, -4.5, 4.0], rtol=1e-15)
    model = LotkaVolterra(rates=[1.0, 2.0], competition=[[1.0, 0.5], [0.0, 2.0]])
    # 1 (1 - 1 - 1), 2 * 2 (1 - 4)
    np.testing.assert_allclose(model.tendency(jnp.asarray([1.0, 2.0])), [-1.0, -12.0], rtol=1e-15)


def test_four_species_stay_alive_on_their_attractor(key):
    model = LotkaVolterra()
    step = eqx.filter_jit(model.step)
    start = x = jnp.asarray(FOUR, jnp.float32)
    smallest, seen = np.inf, []
    for _ in range(200):
        x = step(key, x, 0.0)
        smallest = min(smallest, float(x.min()))
        seen.append(np.asarray(x))
    assert smallest > float(model.floor)  # so the floor never touches the model's own path
    assert np.std(seen[100:], axis=0).min() > 0.01  # chaos, not a fixed point
    below = step(key, start.at[1].set(-0.1), 0.0)
    np.testing.assert_array_equal(below, step(key, start.at[1].set(1e-3), 0.0))


def kuramoto_sivashinsky(d, length):
    """Return the right-hand side of u_t = -(u^2)_x / 2 - u_xx - u_xxxx by a full complex FFT."""
    k = 2 * np.pi / length * np.fft.fftfreq(d, 1 / d)
    odd = np.where(np.abs(k) < np.abs(k).max(), k, 0)

    def tendency(t, u):
        linear = np.fft.ifft((k**2 - k**4) * np.fft.fft(u)).real
        return linear - np.fft.ifft(0.5j * odd * np.fft.fft(u**2)).real

    return tendency


def wave(d, mean=0.0):
    s = 2 * np.pi * np.arange(d) / d
    return mean + np.cos(s) + 0.5 * np.sin(3 * s + 1)


def test_kuramoto_sivashinsky_is_an_implicit_solvers_solution(x64, key):
    d, length, interval = 32, 22.0, 2.0
    u = wave(d)
    exact = solve_ivp(
        kuramoto_sivashinsky(d, length), (0, interval), u, method="Radau", rtol=1e-10, atol=1e-11
    ).y[:, -1]

    def error(substeps):
        model = KuramotoSivashinsky(length=length, interval=interval, substeps=substeps)
        return np.abs(np.asarray(model.step(key, jnp.asarray(u), 0.0)) - exact).max()

    coarse, fine = error(64), error(128)
    assert coarse / fine == pytest.approx(16, rel=0.25)  # of fourth order
    assert error(8) < 1e-3 and fine < 1e-7  # a step of 0.25 is the default


@pytest.mark.parametrize("d", [31, 32])
def test_kuramoto_sivashinsky_keeps_the_mean_and_commutes_with_shifts(dtype, key, d):
    model = KuramotoSivashinsky(length=22.0)
    step = eqx.filter_jit(model.step)
    u = jnp.asarray(wave(d, mean=0.3), dtype)
    moved = step(key, u, 0.0)
    tolerance = 200 * jnp.finfo(dtype).eps
    np.testing.assert_allclose(moved.mean(), u.mean(), rtol=0, atol=tolerance)
    shifted = step(key, jnp.roll(u, 5), 0.0)
    np.testing.assert_allclose(shifted, jnp.roll(moved, 5), rtol=0, atol=tolerance)
    assert moved.dtype == dtype


def test_kuramoto_sivashinsky_is_chaotic_and_bounded_at_the_default(key):
    model = KuramotoSivashinsky()
    step = eqx.filter_jit(model.step)
    u = jnp.asarray(wave(128), jnp.float32)
    for _ in range(150):
        u = step(key, u, 0.0)
    near = start = u
    near = near.at[0].add(1e-3)
    for _ in range(180):
        u, near = step(key, u, 0.0), step(key, near, 0.0)
    assert 0.5 < float(jnp.std(start)) < 3 and float(jnp.abs(u).max()) < 6
    assert float(jnp.abs(u - near).max()) > 1


def test_kuramoto_sivashinsky_has_a_gradient(x64, key):
    model, u = KuramotoSivashinsky(length=22.0, substeps=2), jnp.asarray(wave(16))

    def total(scale):
        return jnp.sum(model.step(key, scale * u, 0.0) ** 2)

    found = jax.grad(total)(1.0)
    expected = (total(1.0 + 1e-6) - total(1.0 - 1e-6)) / 2e-6
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_growth_by_hand(x64, key):
    model = GrowthModel(noise_std=0.0)
    # t = 0: 1 + 50 / 5 + 8; t = 5: -1 - 10 + 8 cos 6
    np.testing.assert_allclose(model.step(key, jnp.asarray([2.0]), 0.0), [19.0], rtol=1e-12)
    expected = -11 + 8 * np.cos(6.0)
    np.testing.assert_allclose(model.step(key, jnp.asarray([-2.0]), 5.0), [expected], rtol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        GrowthModel,
        Lorenz84,
        LotkaVolterra,
        KuramotoSivashinsky,
        NavierStokes,
        partial(Lorenz05II, 2),
    ],
)
def test_noise_is_added_once_per_interval(key, model):
    d = {Lorenz84: 3, LotkaVolterra: 4, NavierStokes: 64}.get(model, 8)
    x = jnp.linspace(0.2, 0.4, d)
    n = 4000

    def step(std, key):
        return model(noise_std=std).step(key, x, 0.0)

    keys = jax.random.split(key, n)
    noise = jax.vmap(lambda k: step(0.5, k))(keys) - step(0.0, key)[None]
    z = np.asarray(noise) / 0.5
    # standard errors of a mean and a standard deviation of n normals: 1/sqrt(n), 1/sqrt(2n)
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(n)
    assert np.abs(z.std(axis=0) - 1).max() < 5 / np.sqrt(2 * n)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Lorenz84(substeps=0), "substeps: expected at least 1"),
        (lambda: Lorenz84().step(None, jnp.ones(4), 0.0), r"x: expected shape \(3,\)"),
        (lambda: LotkaVolterra(rates=[[1.0]]), r"rates: expected shape \(d,\)"),
        (lambda: LotkaVolterra(rates=[1.0, 2.0]), r"competition: expected shape \(2, 2\)"),
        (lambda: LotkaVolterra().step(None, jnp.ones(3), 0.0), r"x: expected shape \(4,\)"),
        (lambda: LotkaVolterra(floor=-1.0), "floor: expected a finite not negative number"),
        (lambda: KuramotoSivashinsky(length=0), "length: expected a finite positive number"),
        (lambda: KuramotoSivashinsky().step(None, jnp.ones(7), 0.0), "d >= 8"),
        (lambda: GrowthModel(noise_std=-1.0), "noise_std: expected a finite not negative"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def turning(x):
    """The coordinated turn's equations: the velocity turns at the rate x[4]."""
    return np.array([x[2], x[3], -x[4] * x[3], x[4] * x[2], 0.0])


@pytest.mark.parametrize("rate", [0.7, -2.0, 1e-9, 0.0])
def test_coordinated_turn_is_the_exact_solution(rate, dtype, key):
    x = np.array([1.0, -2.0, 0.5, 1.5, rate])
    model = CoordinatedTurn(interval=1.5)
    exact = solve_ivp(lambda _, x: turning(x), (0, 1.5), x, rtol=1e-10, atol=1e-12).y[:, -1]
    moved = model.step(key, jnp.asarray(x, dtype), 0.0)
    small = 1e-7 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(moved, exact, rtol=small, atol=small)
    assert moved.dtype == dtype
    assert np.isfinite(jax.jacobian(lambda x: model.step(key, x, 0.0))(jnp.asarray(x, dtype))).all()


def test_coordinated_turn_has_noise_on_velocity_and_turn_rate(key):
    x, n = jnp.asarray([1.0, -2.0, 0.5, 1.5, 0.3]), 4000
    model = CoordinatedTurn(velocity_std=0.5, turn_std=0.1)
    keys = jax.random.split(key, n)
    drawn = jax.vmap(lambda k: model.step(k, x, 0.0))(keys)
    noise = np.asarray(drawn) - np.asarray(CoordinatedTurn().step(key, x, 0.0))
    z = noise[:, 2:] / [0.5, 0.5, 0.1]
    assert np.abs(noise[:, :2]).max() < 1e-6
    assert np.abs(z.std(axis=0) - 1).max() < 5 / np.sqrt(2 * n)
    with pytest.raises(ValueError, match=r"x: expected shape \(5,\)"):
        model.step(key, jnp.ones(4), 0.0)
