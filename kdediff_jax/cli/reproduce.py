"""`kdediff reproduce`: the paper's table, made again, beside the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import jax
from rich.console import Console
from rich.table import Table

from .. import _files, experiments
from ..experiments import costs, records, tables
from ..experiments.plan import Plan
from ..experiments.quick import quick as quickened
from ..experiments.records import Record
from ..experiments.reproduction import reproduce
from ..sweeping import use_every_core
from .messages import console as new_console
from .messages import say
from .progress import board
from .tables import show


def run_reproduction(
    name: str, members: tuple[int, ...] | None, path: Path, *, quick: bool = False
) -> None:
    """Reproduce an experiment's table; finished ensemble sizes are kept in the file as they come.

    Args:
        name: of the experiment.
        members: ensemble sizes; those of the plan if None.
        path: of the record.
        quick: at a size for a look.

    Raises:
        ValueError: the file belongs to another experiment or plan.
    """
    use_every_core()
    jax.config.update("jax_enable_x64", False)  # whatever the environment says: one file, one type
    experiment = experiments.load(name)
    plan = (Plan.quick() if quick else Plan()).of_members(members)
    experiment = quickened(experiment) if quick else experiment
    earlier = records.read(path, name, plan.as_record())
    console = new_console()
    if earlier:
        say(f"going on from {path}: N = {', '.join(earlier['members'])} done", console)
    seconds = costs.of_reproduction(experiment, plan, jax.local_device_count())
    say(f"{name}: takes about {costs.duration(seconds)}, less what is done", console)
    with board(console) as shown:
        record = reproduce(
            experiment,
            plan,
            report=shown.stage,
            finished=lambda record: records.save(record, plan.as_record(), path),
            record=earlier,
        )
    # as it is stored, so that a table of this call is that of the file
    record = cast(Record, records.plain(record))
    _show(console, record)
    _files.replace(path.with_suffix(".md"), tables.markdown(record).encode())
    say(f"results  {path}\nall tables  {path.with_suffix('.md')}", console)


def _show(console: Console, record: Record) -> None:
    """Print the chosen settings and the tables that matter most."""
    scores = dict.fromkeys((tables.main_score(record), "energy_score"))
    for title, (header, rows) in (
        ("settings chosen", tables.settings_table(record)),
        *((tables.NAMES[s], tables.table(record, s)) for s in scores),
    ):
        shown = Table(*header, title=title, box=None, title_justify="left", header_style="bold")
        for row in rows:
            shown.add_row(*row)
        show(console, shown, [title.partition(":")[0]])
