"""The reverse diffusion as an animation: latents on their way from noise into the posterior."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from .. import kde
from .clouds import SHADES, regions
from .style import BLUE, GRID, INK, MUTED, Points, style

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

_STEPS = 8  # of the solver between two frames
_GRID = 90  # points along an axis at which the density is drawn


def flow_paths(
    centres: ArrayLike, log_weights: ArrayLike, latents: ArrayLike, taus: ArrayLike
) -> Points:
    r"""Carry points along the probability flow, dx / d log tau = x - m(x, tau).

    Steps that would be exact if m did not change, m + (x - m) tau'/tau: on a geometric sequence of
    noise levels their error falls linearly with its ratio. For pictures; filters use
    `ProbabilityFlow`, which controls its error.

    Args:
        centres: Members x_i ``[n d]``.
        log_weights: Their log-weights ``[n]``, as of `kde.log_weights`.
        latents: Points at the first noise level ``[k d]``.
        taus: Noise levels ``[s]``, falling; the last is the state bandwidth.

    Returns:
        The points at every level ``[s k d]``.

    Raises:
        ValueError: If shapes do not go together, or levels do not fall or are not positive.
    """
    levels = np.asarray(taus, dtype=np.float64)
    if levels.ndim != 1 or levels.size < 2 or not (np.diff(levels) < 0).all() or levels[-1] <= 0:
        raise ValueError(f"taus: expected at least two falling positive levels, got {levels}")
    members, weights = jnp.asarray(centres), jnp.asarray(log_weights)
    start = jnp.asarray(latents, members.dtype)
    if start.ndim != 2 or members.ndim != 2 or start.shape[1] != members.shape[1]:
        raise ValueError(
            f"latents: expected shape (k, d) as centres (n, d), got {start.shape} and "
            f"{members.shape}"
        )
    ends = jnp.asarray(np.stack([levels[:-1], levels[1:]], axis=1), members.dtype)
    moved = _carried(start, members, weights, ends)
    return np.concatenate([np.asarray(start)[None], np.asarray(moved)]).astype(np.float64)


@jax.jit
def _carried(start: Any, centres: Any, log_weights: Any, ends: Any) -> Any:
    def step(points: Any, levels: Any) -> tuple[Any, Any]:
        mean = kde.denoiser(points, centres, log_weights, levels[0])
        moved = mean + (points - mean) * (levels[1] / levels[0])
        return moved, moved

    return jax.lax.scan(step, start, ends)[1]


def animate_flow(
    centres: ArrayLike,
    log_weights: ArrayLike,
    state_bandwidth: float,
    latents: ArrayLike,
    *,
    tau_max: float | None = None,
    frames: int = 40,
    width: int = 640,
    labels: Sequence[str] = ("first coordinate", "second coordinate"),
    title: str = "Reverse diffusion",
) -> "FuncAnimation":
    """Animate the reverse diffusion: latents move from broad noise into the posterior's modes.

    The shades are the 50, 80 and 95 % regions of the density at the frame's noise level, whose
    score carries the points. One coordinate is drawn against the noise level, with trails.

    Args:
        centres: Forecast members ``[n 1]`` or ``[n 2]``.
        log_weights: Their log-weights ``[n]``, as of `kde.log_weights`.
        state_bandwidth: Noise level at the end.
        latents: Standard normal draws ``[k 1]`` or ``[k 2]``, scaled here.
        tau_max: Noise level at the start; five spreads of the members if not given.
        frames: Number of frames.
        width: Width in pixels.
        labels: Names of the coordinates, units included.
        title: Headline.

    Returns:
        The animation. `save` writes it as GIF.

    Raises:
        ValueError: If shapes do not go together, or numbers are out of range.
        ImportError: If matplotlib is not installed.
    """
    members = np.asarray(centres, dtype=np.float64)
    if members.ndim != 2 or members.shape[1] not in (1, 2) or len(members) < 2:
        raise ValueError(f"centres: expected shape (n, 1) or (n, 2), got {members.shape}")
    if frames < 2:
        raise ValueError(f"frames: expected at least 2, got {frames}")
    if not 100 <= width <= 4000:
        raise ValueError(f"width: expected 100 to 4000 pixels, got {width}")
    top = 5 * float(members.std(axis=0).max()) if tau_max is None else float(tau_max)
    if not 0 < state_bandwidth < top:
        raise ValueError(f"state_bandwidth: expected between 0 and {top:g}, got {state_bandwidth}")
    taus = np.geomspace(top, state_bandwidth, (frames - 1) * _STEPS + 1)
    middle = np.average(members, axis=0, weights=np.exp(np.asarray(log_weights, np.float64)))
    start = middle + top * np.asarray(latents, dtype=np.float64)
    paths = flow_paths(centres, log_weights, start, taus)[::_STEPS]
    names = list(labels)[: members.shape[1]]
    if len(names) < members.shape[1]:
        raise ValueError(f"labels: expected {members.shape[1]}, got {list(labels)}")
    draw = _trails if members.shape[1] == 1 else _clouds
    return draw(
        _canvas(title, width), paths, taus[::_STEPS], members, np.asarray(log_weights), names
    )


def _canvas(title: str, width: int) -> tuple[Any, "Axes"]:
    """Return a figure with a canvas of its own, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(6.4, 4.4), dpi=width / 6.4, facecolor="white")
        FigureCanvasAgg(figure)
        axis = figure.add_axes((0.11, 0.13, 0.86, 0.75))
        figure.suptitle(title, x=0.02, ha="left", fontsize=11.5, fontweight="bold")
    return figure, axis


def _animation(figure: Any, draw: Any, frames: int) -> "FuncAnimation":
    from matplotlib.animation import FuncAnimation

    def shown(frame: int) -> list[Any]:
        with style():
            return draw(frame)

    return FuncAnimation(figure, shown, frames=frames, interval=80, repeat_delay=1500)


def _clouds(
    canvas: tuple[Any, "Axes"],
    paths: Points,
    taus: Points,
    members: Points,
    log_weights: Points,
    names: list[str],
) -> "FuncAnimation":
    """Animate points in two coordinates."""
    figure, axis = canvas
    kept = np.exp(log_weights - log_weights.max()) > 1e-3
    bounds = []
    for k in range(2):
        held = np.concatenate([members[kept, k], paths[-1][:, k]])
        room = 0.6 * (held.max() - held.min() or 1.0)
        bounds.append((held.min() - room, held.max() + room))

    def draw(frame: int) -> list[Any]:
        axis.clear()
        x, y, density = _density(bounds, members, log_weights, taus[frame])
        axis.contourf(x, y, density, levels=regions(density, (0.95, 0.8, 0.5)), colors=SHADES)
        trail = paths[max(frame - 5, 0) : frame + 1]
        axis.plot(trail[:, :, 0], trail[:, :, 1], color=BLUE, linewidth=0.7, alpha=0.35)
        axis.scatter(
            *paths[frame].T, s=16, color=BLUE, edgecolors="white", linewidths=0.4, zorder=3
        )
        axis.set(xlim=bounds[0], ylim=bounds[1], xlabel=names[0], ylabel=names[1])
        axis.set_title(f"noise level {taus[frame]:.3g}", loc="right", fontsize=10, color=MUTED)
        return []

    return _animation(figure, draw, len(paths))


def _trails(
    canvas: tuple[Any, "Axes"],
    paths: Points,
    taus: Points,
    members: Points,
    log_weights: Points,
    names: list[str],
) -> "FuncAnimation":
    """Animate points of one coordinate, their noise level falling to the right."""
    figure, axis = canvas
    held = np.concatenate([members[:, 0], paths[-1][:, 0]])
    room = 0.5 * (held.max() - held.min() or 1.0)
    low, high = held.min() - room, held.max() + room
    line = np.linspace(low, high, 300)
    width = 0.35 * np.log(taus[0] / taus[-1])

    def draw(frame: int) -> list[Any]:
        axis.clear()
        height = _heights(line[:, None], members, log_weights, taus[frame])
        edge = taus[frame] * np.exp(-width * height)
        axis.fill_betweenx(line, taus[frame], edge, color=SHADES[1], linewidth=0)
        axis.plot(taus[: frame + 1], paths[: frame + 1, :, 0], color=BLUE, linewidth=0.7, alpha=0.4)
        here = np.full(paths.shape[1], taus[frame])
        look: Any = {"s": 16, "edgecolors": "white", "linewidths": 0.4, "zorder": 3}
        axis.scatter(here, paths[frame, :, 0], color=BLUE, **look)
        axis.axvline(taus[frame], color=INK, linewidth=0.8)
        axis.set(xscale="log", xlim=(taus[0], taus[-1] * np.exp(-width)), ylim=(low, high))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set(xlabel="noise level", ylabel=names[0])
        axis.grid(color=GRID, linewidth=0.8)
        axis.set_title(f"noise level {taus[frame]:.3g}", loc="right", fontsize=10, color=MUTED)
        return []

    return _animation(figure, draw, len(paths))


_log_density = jax.jit(kde.log_density)


def _heights(points: Points, members: Points, log_weights: Points, tau: float) -> Points:
    """Return the density at a noise level in units of its largest value."""
    dtype = jnp.result_type(float)
    arrays = (jnp.asarray(a, dtype) for a in (points, members, log_weights, tau))
    log = np.asarray(_log_density(*arrays), dtype=np.float64)
    return np.exp(log - log.max())


def _density(
    bounds: list[tuple[float, float]], members: Points, log_weights: Points, tau: float
) -> tuple[Points, Points, Points]:
    """Return the density at this noise level on a grid; it may reach beyond."""
    x, y = (np.linspace(*limits, _GRID) for limits in bounds)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return x, y, _heights(points, members, log_weights, tau).reshape(_GRID, _GRID)
