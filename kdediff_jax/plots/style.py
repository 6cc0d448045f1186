"""What all figures share: colours, canvas and axis limits."""

import contextlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Points = NDArray[np.float64]
Series = Mapping[str, ArrayLike]

# Okabe and Ito (2008): told apart with any of the common forms of colour blindness.
_KNOWN = {"diffusion": "#0072B2", "kde": "#0072B2", "enkf": "#D55E00", "sir": "#009E73"}
_OTHERS = ("#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#5E4FA2")
INK, MUTED, GRID = "#1A1A1A", "#5F6670", "#E3E6EA"
BLUE, RED, HEALTHY, MISSING = "#0072B2", "#D55E00", "#DDEFE6", "#D9DCE1"
_STYLE: Any = {
    "font.size": 10.0,
    "axes.edgecolor": "#9AA1AB",
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
}


def palette(labels: Iterable[str]) -> dict[str, str]:
    """Choose one colour per filter, colour-blind safe and the same in every figure.

    Names containing "diffusion" or "kde", "enkf" and "sir" have their own; others take the rest in
    order. Source: Okabe and Ito (2008), Color Universal Design.

    Args:
        labels: Names of the filters.

    Returns:
        Colour of each name.
    """
    colours: dict[str, str] = {}
    free = list(_OTHERS)
    for label in labels:
        own = next((c for name, c in _KNOWN.items() if name in label.lower()), None)
        if own is None or own in colours.values():
            own = free.pop(0) if free else "#777777"
        colours[label] = own
    return colours


def style() -> contextlib.AbstractContextManager[None]:
    """Return a context in which new axes have the look of this package."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "kdediff_jax[plot]"') from error
    return matplotlib.rc_context(_STYLE)


def canvas(height: float) -> "Figure":
    """Return an empty figure, 1200 pixels wide, that lays itself out without overlaps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, height), dpi=100, layout="constrained", facecolor="white")
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.08, h_pad=0.08)
    return figure


def headline(
    figure: "Figure | SubFigure", title: str, handles: "Sequence[Artist]" = (), size: float = 11.5
) -> None:
    """Write a headline with a legend to its right, or below it where both are too long.

    The layout reserves the lines of the headline, so that the legend need not take part in it.
    """
    per_letter = 0.0092 * size / 11.5  # of the width, in bold
    folded = textwrap.wrap(title, int(0.97 / per_letter)) or [" "]
    legend = sum(0.055 + 0.0062 * len(str(handle.get_label())) for handle in handles)
    below = bool(handles) and per_letter * len(folded[-1]) + legend > 0.97
    text = "\n".join(folded + [" "] * below)
    figure.suptitle(text, x=0.01, ha="left", fontsize=size, fontweight="bold")
    if handles:
        line = 1.25 * size / 72 * 100 / figure.bbox.height  # of the height
        top = 1 - line * (len(folded) - 1 + below) - 6 * below / figure.bbox.height
        place: Any = {"loc": "upper right", "bbox_to_anchor": (1, top), "borderaxespad": 0.2}
        drawn = figure.legend(handles=list(handles), ncols=len(handles), **place)
        drawn.set_in_layout(False)


def name_panel(
    axis: "Axes", label: str, colour: str, notes: Mapping[str, str], width: int = 100
) -> None:
    """Write the filter's name, and its note if there is one, above its panel."""
    text = f"{label}  ·  {notes[label]}" if label in notes else label
    text = textwrap.fill(text, max(width, 12))
    axis.set_title(text, loc="left", color=colour, fontweight="bold", pad=5)


def limits(trusted: Points, others: Points) -> tuple[float, float]:
    """Axis limits that hold all of the trusted values and, within reason, the bulk of the others.

    Others may stretch the trusted range by half of it on each side: a diverged filter should be
    seen to leave the panel, not flatten everything else.
    """
    trusted, others = trusted[np.isfinite(trusted)], others[np.isfinite(others)]
    if trusted.size == 0:
        if others.size == 0:
            return (0.0, 1.0)
        trusted = np.quantile(others, [0.02, 0.98])
    low, high = float(trusted.min()), float(trusted.max())
    room = 0.5 * (high - low) or max(float(np.std(others)) if others.size else 0.0, 1e-6) * 3
    if others.size:
        bulk = np.quantile(others, [0.01, 0.99])
        low = min(low, max(float(bulk[0]), low - room))
        high = max(high, min(float(bulk[1]), high + room))
    margin = 0.06 * (high - low) or 0.5
    return (low - margin, high + margin)


def same_filters(name: str, mapping: Series, other: str, expected: Series) -> None:
    """Check that two mappings name the same filters."""
    if set(mapping) != set(expected):
        raise ValueError(
            f"{name}: expected the filters of {other}, {list(expected)}, got {list(mapping)}"
        )
