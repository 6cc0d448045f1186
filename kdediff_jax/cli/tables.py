"""Tables on the screen: whole or said to be cut, with what their columns mean below them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .messages import say

MEANINGS = {
    "W2": "Wasserstein distance between the ensemble and the reference posterior (a particle "
    "filter of many particles, or the exact one): how far members must be moved, lower is better",
    "sliced w2": "the same averaged over lines through the state's space, quick to compute",
    "energy": "energy score: mean distance of the members from the truth, less half of that from "
    "each other; lower is better, whatever the posterior's shape",
    "CRPS": "continuous ranked probability score: the energy score of each coordinate, averaged",
    "RMSE": "root mean square error of the ensemble's mean",
    "spread": "standard deviation of the members; near the RMSE where a filter knows its error",
    "coverage": "share of the truth within the members' 90 % interval; 0.9 is right",
    "rank p": "p-value of a flat rank histogram, the worst coordinate's; below 0.01: the truth "
    "lies among the members otherwise than as one of them",
    "ESS": "effective sample size: how many members the weights leave, of all",
    "steps": "steps of the solver an analysis, 0 without one",
    "failed": "cycles whose analysis failed; the forecast went on in its place",
}
SAME = {  # other names of the same
    "energy_score": "energy", "energy score": "energy", "crps": "CRPS", "rmse": "RMSE",
    "RMSE of the mean": "RMSE", "ess": "ESS", "w2": "W2", "sliced W2": "sliced w2",
    "sliced_w2": "sliced w2",
}  # fmt: skip


def show(console: Console, table: Table, explained: Iterable[str], rows: str = "") -> None:
    """Print a table, whether it is whole, and what its columns mean.

    Args:
        console: where.
        table: the table.
        explained: names of columns; those that need no words are passed over.
        rows: which rows are left out, in words.
    """
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    console.print(table)
    if needed > console.width:
        say(f"cut to {console.width} columns of {needed}: widen the window, or pipe it", console)
    if rows:
        say(rows, console)
    for name in dict.fromkeys(SAME.get(name, name) for name in explained):
        if name in MEANINGS:
            console.print(Text(f"{name}: {MEANINGS[name]}", style="dim"))
