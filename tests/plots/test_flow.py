"""The animated flow is the filter's: its end is that of the solver, its law the kernel density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax import plots

keys = jax.random.split(jax.random.key(3), 4)
X = jax.random.normal(keys[0], (60, 1))
Y = X**2 + 0.3 * jax.random.normal(keys[1], X.shape)
LOG_WEIGHTS = kd.kde.log_weights(jnp.array([1.0]), Y, 0.3)


def test_one_kernel_is_reached_exactly():
    """With one centre c, x - c shrinks with tau."""
    latents = np.array([[2.0], [-1.0]])
    taus = np.geomspace(4.0, 0.5, 9)
    paths = plots.flow_paths(np.array([[3.0]]), np.zeros(1), 3.0 + 4.0 * latents, taus)
    np.testing.assert_allclose(paths[:, :, 0], 3.0 + taus[:, None] * latents.T, rtol=1e-5)


def test_the_end_is_a_draw_of_the_kernel_density(x64):
    """The flow is monotone in one dimension: quantiles of the start go to those of the end."""
    start, end = 40.0, 0.15
    probabilities = (np.arange(200) + 0.5) / 200
    from statistics import NormalDist

    x, log_weights = np.asarray(X, np.float64), np.asarray(LOG_WEIGHTS, np.float64)
    weights = np.exp(log_weights) / np.exp(log_weights).sum()
    middle = (weights[:, None] * x).sum()
    spread = np.sqrt((weights * (x[:, 0] - middle) ** 2).sum() + start**2)
    latents = middle + spread * np.array([[NormalDist().inv_cdf(p)] for p in probabilities])
    taus = np.geomspace(start, end, 3000)
    drawn = plots.flow_paths(x, log_weights, latents, taus)[-1][:, 0]
    kernels = [NormalDist(c, end).cdf for c in x[:, 0]]
    reached = [sum(w * cdf(v) for w, cdf in zip(weights, kernels, strict=True)) for v in drawn]
    np.testing.assert_allclose(reached, probabilities, atol=0.01)


@pytest.mark.parametrize("d", [1, 2])
def test_the_animation_moves_the_points_into_both_modes(d, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    centres = jnp.concatenate([X, jax.random.normal(keys[3], X.shape)], axis=1)[:, :d]
    latents = jax.random.normal(keys[2], (30, d))
    moving = plots.animate_flow(
        centres, LOG_WEIGHTS, 0.15, latents, frames=5, width=320, labels=("x", "y")
    )
    path = plots.save(moving, tmp_path / "flow.gif")
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.size) == (5, (320, 220))
    axis = moving._fig.axes[0]
    points = next(c for c in axis.collections if len(c.get_offsets()) == 30).get_offsets()
    ends = np.asarray(points[:, 0] if d == 2 else points[:, 1])
    assert (np.abs(np.abs(ends) - 1) < 0.6).mean() > 0.8  # near 1 or -1
    assert (ends > 0).any() and (ends < 0).any()
    with pytest.raises(FileExistsError):
        plots.save(moving, path)
    with pytest.raises(ValueError, match=r"\.gif"):
        plots.save(moving, tmp_path / "flow.png")


def test_no_window_is_opened():
    import subprocess
    import sys

    code = (
        "import sys, numpy as np, io; from kdediff_jax import plots\n"
        "a = plots.animate_flow(np.eye(2), np.zeros(2), 0.1, np.eye(2), frames=2)\n"
        "plots.save(a, sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", code, f"{folder}/a.gif"], check=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.flow_paths(X, LOG_WEIGHTS, X, [0.1, 0.2]), "taus: expected"),
        (lambda: plots.flow_paths(X, LOG_WEIGHTS, X, [0.1]), "taus: expected"),
        (lambda: plots.flow_paths(X, LOG_WEIGHTS, X[:, :0], [2.0, 1.0]), "latents: expected"),
        (lambda: plots.animate_flow(np.eye(3), np.zeros(3), 0.1, X), "centres: expected"),
        (lambda: plots.animate_flow(X, LOG_WEIGHTS, 0.1, X, frames=1), "frames: expected"),
        (lambda: plots.animate_flow(X, LOG_WEIGHTS, 0.0, X), "state_bandwidth: expected"),
        (lambda: plots.animate_flow(X, LOG_WEIGHTS, 9.0, X, tau_max=2.0), "state_bandwidth: exp"),
        (lambda: plots.animate_flow(X, LOG_WEIGHTS, 0.1, X, labels=()), "labels: expected"),
        (lambda: plots.animate_flow(X, LOG_WEIGHTS, 0.1, X, width=5), "width: expected"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_animation_of_the_site_is_small():
    from pathlib import Path

    path = Path(__file__).parents[2] / "docs" / "pages" / "reverse-diffusion.gif"
    if not path.exists():
        pytest.skip("the pages come with a checkout only")
    content = path.read_bytes()
    assert content.startswith(b"GIF89a") and len(content) < 400_000
    assert "reverse-diffusion.gif" in (path.parent / "method.md").read_text()
