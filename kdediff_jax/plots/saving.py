"""Figures as PNG, animations as GIF: whole or not at all."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _files

if TYPE_CHECKING:
    from matplotlib.animation import Animation
    from matplotlib.figure import Figure

_FPS, _HOLD, _COLOURS = 12, 1500, 32  # the second: milliseconds for which the end is shown


def save(
    figure: "Figure | Animation", path: str | os.PathLike[str], *, force: bool = False
) -> Path:
    """Write a figure as PNG or an animation as GIF, whole or not at all; makes the parent folder.

    Args:
        figure: The figure, or the animation, such as of `animate_flow`.
        path: Where to write; must end in ``.png``, of an animation in ``.gif``.
        force: Whether a file already there may be replaced.

    Returns:
        The path.

    Raises:
        ValueError: If the name does not end so.
        FileExistsError: If the file exists and ``force`` is not set.
    """
    target = Path(path)
    moving = not hasattr(figure, "savefig")
    suffix = ".gif" if moving else ".png"
    if target.suffix.lower() != suffix:
        raise ValueError(f"path: expected a name ending in {suffix}, got {target}")
    if target.exists() and not force:
        raise FileExistsError(f"{target} exists; choose another name or pass --force (force=True)")
    target.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    if moving:
        _write_gif(figure, content)
    else:
        figure.savefig(content, format="png")  # pyright: ignore[reportAttributeAccessIssue]
    return _files.replace(target, content.getbuffer())


def _write_gif(animation: Any, content: io.BytesIO) -> None:
    """Write all frames with one palette of few colours, without dithering: a small file."""
    from matplotlib.animation import AbstractMovieWriter
    from PIL import Image

    frames: list[Any] = []

    class Frames(AbstractMovieWriter):
        """Keeps the frames as pictures."""

        def setup(self, fig: Any, outfile: Any, dpi: float | None = None) -> None:
            """Take the figure; no file is made here."""
            self.fig, self.outfile, self.dpi = fig, outfile, dpi or fig.dpi

        def grab_frame(self, **options: Any) -> None:
            """Keep the figure as it is now."""
            canvas: Any = self.fig.canvas  # of Agg, which has just drawn
            frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))

        def finish(self) -> None:
            """Do nothing: the frames are there."""

    animation.save("frames", writer=Frames(fps=_FPS))
    # a palette of all frames: the first alone may lack a colour of the last
    width, height = frames[0].size
    few = frames[:: max(1, len(frames) // 6)]
    sheet = Image.new("RGB", (width, height * len(few)))
    for k, frame in enumerate(few):
        sheet.paste(frame, (0, k * height))
    palette = sheet.quantize(_COLOURS)
    reduced = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    durations = [1000 // _FPS] * (len(reduced) - 1) + [_HOLD]
    reduced[0].save(
        content, format="GIF", save_all=True, append_images=reduced[1:], duration=durations, loop=0,
        optimize=False,
    )  # fmt: skip
