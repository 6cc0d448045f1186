"""Two-dimensional flow against exact solutions, another scheme, and what it conserves."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kdediff_jax.dynamics import (
    NavierStokes,
    VelocityPressure,
    kolmogorov_forcing,
    pressure,
    velocity,
    vorticity,
)


def grid(n, length=2 * np.pi):
    """Return x and y [n n], rows of equal y."""
    axis = length * np.arange(n) / n
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return x, y


def eddies(n):
    x, y = grid(n)
    return np.cos(x + 2 * y) + 0.7 * np.sin(2 * x - y + 1) + 0.5 * np.cos(3 * y) + 0.4 * np.sin(x)


def padded(spectrum, more):
    """Put a full spectrum on a finer grid."""
    n = len(spectrum)
    shifted, fine = np.fft.fftshift(spectrum), np.zeros((more, more), complex)
    start = more // 2 - n // 2
    fine[start : start + n, start : start + n] = shifted
    return np.fft.ifft2(np.fft.ifftshift(fine)).real * more**2 / n**2


def tendency(omega, viscosity, drag, force):
    """u . grad omega by complex transforms; its aliases go by a grid twice as fine, not a mask."""
    n = len(omega)
    k = np.fft.fftfreq(n, 1 / n)
    kx, ky = k[None], k[:, None]
    square = kx**2 + ky**2
    kept = (3 * abs(kx) < n) & (3 * abs(ky) < n)
    spectrum = np.where(kept, np.fft.fft2(omega), 0)
    psi = -spectrum / np.where(square > 0, square, 1)
    u, v, slope_x, slope_y = (
        padded(factor * of, 2 * n)
        for factor, of in (
            (-1j * ky, psi),
            (1j * kx, psi),
            (1j * kx, spectrum),
            (1j * ky, spectrum),
        )
    )
    advection = np.fft.fft2(u * slope_x + v * slope_y) / 4
    index = np.r_[: n // 2, 2 * n - n // 2 : 2 * n]
    advection = np.where(kept, advection[np.ix_(index, index)], 0)
    rest = -(viscosity * square + drag) * spectrum + np.where(kept, np.fft.fft2(force), 0)
    return np.fft.ifft2(rest - advection).real


def test_is_another_schemes_solution_at_fourth_order(x64, key):
    n, interval = 16, 0.5
    omega, force = eddies(n), np.asarray(kolmogorov_forcing(n, 0.4, 2, 2 * np.pi))
    settings = {"viscosity": 0.02, "drag": 0.1}

    def right(t, flat):
        return tendency(flat.reshape(n, n), force=force, **settings).ravel()

    exact = solve_ivp(right, (0, interval), omega.ravel(), rtol=1e-10, atol=1e-11, method="DOP853")

    def error(substeps):
        model = NavierStokes(**settings, forcing=force, interval=interval, substeps=substeps)
        step = eqx.filter_jit(model.step)
        return np.abs(np.asarray(step(key, jnp.asarray(omega.ravel()), 0.0)) - exact.y[:, -1]).max()

    coarse, fine = error(8), error(16)
    assert coarse / fine == pytest.approx(16, rel=0.3)
    assert fine < 1e-5


@pytest.mark.parametrize("n", [15, 16])
def test_taylor_green_eddies_decay_exactly(dtype, key, n):
    """The advection of cos x cos y is a gradient: only viscosity (k^2 = 2) and drag act."""
    x, y = grid(n, 3.0)
    k = 2 * np.pi / 3
    omega = jnp.asarray((np.cos(k * x) * np.cos(k * y)).ravel(), dtype)
    model = NavierStokes(viscosity=0.02, drag=0.3, length=3.0, interval=0.7, substeps=2)
    moved = eqx.filter_jit(model.step)(key, omega, 0.0)
    exact = np.asarray(omega) * np.exp(-(0.02 * 2 * k**2 + 0.3) * 0.7)
    np.testing.assert_allclose(moved, exact, rtol=0, atol=50 * jnp.finfo(dtype).eps)
    assert moved.dtype == dtype


def test_kolmogorovs_laminar_flow_stands_still(x64, key):
    n, nu, mu, m, length = 16, 0.03, 0.1, 2, 5.0
    force = kolmogorov_forcing(n, 0.5, m, length)
    k = 2 * np.pi * m / length
    steady = np.asarray(force).ravel() / (nu * k**2 + mu)
    model = NavierStokes(nu, force, mu, length=length, interval=2.0)
    np.testing.assert_allclose(model.step(key, jnp.asarray(steady), 0.0), steady, atol=1e-12)
    _, y = grid(n, length)
    u, v = velocity(jnp.asarray(steady).reshape(n, n), length)
    np.testing.assert_allclose(u, 0.5 * np.sin(k * y) / (nu * k**2 + mu), atol=1e-12)
    np.testing.assert_allclose(v, 0, atol=1e-12)


def energy_and_enstrophy(omega):
    u, v = velocity(omega)
    return float(jnp.mean(u**2 + v**2)) / 2, float(jnp.mean(omega**2)) / 2


def test_energy_and_enstrophy_balance(x64, key):
    """Without friction both are conserved; with it dE/dt = -2 nu Z and dZ/dt = -2 nu P."""
    n, h = 16, 1e-3
    still = NavierStokes(0.0, interval=0.5, substeps=40)
    start = still.step(key, jnp.asarray(eddies(n).ravel()), 0.0).reshape(n, n)  # of kept waves only
    later = eqx.filter_jit(still.step)(key, start.ravel(), 0.0).reshape(n, n)
    assert float(jnp.abs(later - start).max()) > 0.1
    np.testing.assert_allclose(energy_and_enstrophy(later), energy_and_enstrophy(start), rtol=1e-9)
    nu = 0.05
    model = NavierStokes(nu, interval=h, substeps=1)
    after = model.step(key, start.ravel(), 0.0).reshape(n, n)
    k = np.fft.fftfreq(n, 1 / n)
    square = (k[None] ** 2 + k[:, None] ** 2) * abs(np.fft.fft2(start) / n**2) ** 2
    before, change = np.array(energy_and_enstrophy(start)), energy_and_enstrophy(after)
    rate = (np.array(change) - before) / h
    np.testing.assert_allclose(rate, [-2 * nu * before[1], -nu * square.sum()], rtol=2e-3)


def test_fields_come_back_from_vorticity_and_pressure_is_exact(dtype):
    """Taylor-Green: u = cos x sin y, v = -sin x cos y has p = -(cos 2x + cos 2y) / 4."""
    n = 16
    x, y = grid(n)
    u, v = (jnp.asarray(f, dtype) for f in (np.cos(x) * np.sin(y), -np.sin(x) * np.cos(y)))
    small = 30 * jnp.finfo(dtype).eps
    omega = vorticity(u, v)
    np.testing.assert_allclose(omega, -2 * np.cos(x) * np.cos(y), atol=small)
    for found, expected in zip(velocity(omega), (u, v), strict=True):
        np.testing.assert_allclose(found, expected, atol=small)
    exact = (np.cos(2 * x) + np.cos(2 * y)) / 4
    np.testing.assert_allclose(pressure(u, v), -exact, atol=small)
    assert pressure(u, v).dtype == dtype
    stack = jnp.stack([u, -u, 2 * u])  # leading axes pass through
    np.testing.assert_allclose(
        vorticity(stack, jnp.stack([v, -v, 2 * v]))[2], 2 * omega, atol=small
    )


def test_three_fields_are_the_vorticitys_flow_in_any_frame(x64, key):
    """A mean flow carries the eddies along, by two points here, and changes no more."""
    n = 16
    flow = NavierStokes(0.01, interval=0.5, substeps=20)
    model = VelocityPressure(flow)
    omega = flow.step(key, jnp.asarray(eddies(n).ravel()), 0.0)  # of kept waves only
    later = flow.step(key, omega, 0.0).reshape(n, n)
    mean = 2 * (2 * np.pi / n) / 0.5
    u, v = velocity(omega.reshape(n, n))
    p, moved_u, moved_v = model.step(key, model.fields(u + mean, v), 0.0).reshape(3, n, n)
    found = vorticity(moved_u, moved_v)
    np.testing.assert_allclose(found, jnp.roll(later, 2, axis=1), atol=1e-5)
    np.testing.assert_allclose(jnp.mean(moved_u), mean, rtol=1e-12)
    np.testing.assert_allclose(p, pressure(moved_u - mean, moved_v), atol=1e-12)
    gradient = jnp.asarray(np.cos(grid(n)[0]))  # of sin x, and a pressure: neither counts
    other = model.fields(u + mean + gradient, v).at[: n * n].set(7.0)
    np.testing.assert_allclose(
        model.step(key, other, 0.0).reshape(3, n, n)[1:], [moved_u, moved_v], atol=1e-12
    )


def test_viscosity_is_differentiable_and_never_recompiles(x64, key):
    omega = jnp.asarray(eddies(8).ravel())

    def total(nu):
        return jnp.sum(NavierStokes(nu, substeps=2).step(key, omega, 0.0) ** 2)

    found = jax.jit(jax.grad(total))(0.05)
    np.testing.assert_allclose(found, (total(0.05001) - total(0.04999)) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: NavierStokes(-1.0), ValueError, "viscosity: expected a finite not negative"),
        (lambda: NavierStokes(length=0), ValueError, "length: expected a finite positive"),
        (lambda: NavierStokes(forcing=np.ones(3)), ValueError, r"forcing: .* shape \(n, n\)"),
        (
            lambda: NavierStokes(forcing=np.ones((9, 9))).step(None, jnp.ones(64), 0.0),
            ValueError,
            r"forcing: expected that of the state's grid, \(8, 8\)",
        ),
        (lambda: NavierStokes().step(None, jnp.ones(65), 0.0), ValueError, r"\(n \* n,\)"),
        (lambda: NavierStokes().step(None, jnp.ones(49), 0.0), ValueError, "n >= 8"),
        (lambda: VelocityPressure(3), TypeError, "flow: expected a NavierStokes"),
        (
            lambda: VelocityPressure(NavierStokes()).step(None, jnp.ones(64), 0.0),
            ValueError,
            r"\(3 \* n \* n,\)",
        ),
        (lambda: pressure(jnp.ones((3, 4)), jnp.ones((3, 4))), ValueError, "n, n"),
        (lambda: velocity(jnp.ones((8, 8)), -1.0), ValueError, "length: expected"),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
