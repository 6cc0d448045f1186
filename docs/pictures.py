"""Pictures of how the method works, drawn from the package's own functions."""

from __future__ import annotations

import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import kdediff_jax as kd
from kdediff_jax.plots.style import style

MEMBERS, MEASURED, NOISE = 60, 1.0, 0.3
LINE = np.linspace(-3.0, 3.0, 301)
TRUTH, KERNEL, MEMBER = "#222222", "#0072b2", "#d55e00"


def make() -> dict[str, bytes]:
    """Return the pictures as PNG files, by name."""
    drawn = {"pairs": pairs, "bandwidths": bandwidths, "flow": flow}
    with style():
        return {f"{name}.png": _png(draw()) for name, draw in drawn.items()}


def problem() -> tuple[jax.Array, jax.Array]:
    """Return members x and simulated measurements y = x^2 + noise."""
    x_key, noise_key = jax.random.split(jax.random.key(1))
    x = jax.random.normal(x_key, (MEMBERS, 1))
    return x, x**2 + NOISE * jax.random.normal(noise_key, x.shape)


def exact() -> np.ndarray:
    """Return the posterior density of x given y = MEASURED on LINE."""
    density = np.exp(-(LINE**2) / 2 - ((MEASURED - LINE**2) / NOISE) ** 2 / 2)
    return density / (density.sum() * (LINE[1] - LINE[0]))


def density(state_bandwidth: float, obs_bandwidth: float) -> np.ndarray:
    """Return the conditional kernel density on LINE."""
    x, y = problem()
    log_weights = kd.kde.log_weights(jnp.array([MEASURED]), y, obs_bandwidth)
    line = jnp.asarray(LINE, x.dtype)[:, None]
    return np.exp(kd.kde.log_density(line, x, log_weights, state_bandwidth))


def pairs() -> Any:
    """Draw the pairs, and the weights that a measurement gives them."""
    x, y = (np.asarray(a)[:, 0] for a in problem())
    log_weights = kd.kde.log_weights(jnp.array([MEASURED]), jnp.asarray(y)[:, None], 0.3)
    figure = _canvas()
    left, right = figure.subplots(1, 2)
    weight = np.exp(np.asarray(log_weights))
    left.scatter(x, y, s=15 + 900 * weight, color=MEMBER, alpha=0.6, label="pair, size by weight")
    left.axhline(MEASURED, color=TRUTH, label="the measurement")
    left.set(xlabel="state x", ylabel="simulated measurement", title="pairs (x, y)", ylim=(-1, 5))
    left.legend()
    right.plot(LINE, exact(), color=TRUTH, label="exact posterior")
    right.plot(LINE, density(0.15, 0.3), color=KERNEL, label="kernel density")
    right.set(xlabel="state x", ylabel="density", title="conditioned on the measurement")
    right.legend()
    return figure


def bandwidths() -> Any:
    """Draw what each bandwidth does."""
    figure = _canvas()
    panels = figure.subplots(1, 2, sharey=True)
    cases = (
        ("state bandwidth", [(h, 0.3) for h in (0.03, 0.15, 0.6)], 0),
        ("measurement bandwidth", [(0.15, h) for h in (0.02, 0.3, 3.0)], 1),
    )
    for panel, (title, pairs_of, varied) in zip(panels, cases, strict=True):
        panel.plot(LINE, exact(), color=TRUTH, label="exact posterior")
        for colour, pair in zip((MEMBER, KERNEL, "#009e73"), pairs_of, strict=True):
            panel.plot(LINE, density(*pair), color=colour, label=f"{pair[varied]:g}")
        panel.set(xlabel="state x", title=title, ylim=(0, 2.2))
        panel.legend()
    panels[0].set_ylabel("density")
    return figure


def flow() -> Any:
    """Draw the paths of latents through the reverse flow, dx / d log tau = x - m(x, tau)."""
    x, y = problem()
    log_weights = kd.kde.log_weights(jnp.array([MEASURED]), y, 0.3)
    taus = jnp.geomspace(5.0, 0.15, 200)
    start = 5.0 * jax.random.normal(jax.random.key(2), (40, 1))

    def step(points: jax.Array, ends: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = kd.kde.denoiser(points, x, log_weights, ends[0])
        moved = mean + (points - mean) * ends[1] / ends[0]  # exact while m stays as it is
        return moved, moved[:, 0]

    _, paths = jax.lax.scan(step, start, jnp.stack([taus[:-1], taus[1:]], axis=1))
    figure = _canvas()
    panel = figure.subplots()
    panel.plot(taus[1:], paths, color=KERNEL, alpha=0.6, linewidth=0.9)
    panel.set(xscale="log", xlabel="noise level tau", ylabel="x", ylim=(-6, 6))
    panel.invert_xaxis()
    panel.set_title("40 latents are carried from noise (left) into the two modes (right)")
    return figure


def _canvas() -> Any:
    """Return an empty figure whose words can be read at the width of a page."""
    from matplotlib.figure import Figure

    return Figure(figsize=(8.0, 3.4), dpi=150, layout="constrained", facecolor="white")


def _png(figure: Any) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()
