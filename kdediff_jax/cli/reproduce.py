"""`kdediff reproduce`: the paper's table, made again, beside the paper's."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .. import experiments, results
from ..experiments import tables
from ..experiments.reproduction import Plan, Record, reproduce
from ..sweeping import use_every_core


def run_reproduction(name: str, plan: Plan, path: Path) -> None:
    """Reproduce an experiment's table; finished ensemble sizes are kept in the file as they come.

    Raises:
        ValueError: the file belongs to another experiment or plan.
    """
    use_every_core()
    experiment = experiments.load(name)
    earlier = _earlier(path, name, plan)
    console = Console()
    if earlier:
        console.print(f"going on from {path}: N = {', '.join(earlier['members'])} done")
    with console.status("starting") as status:
        record = reproduce(
            experiment,
            plan,
            report=status.update,
            finished=lambda record: save(record, plan, path),
            record=earlier,
        )
    record = _plain(record)
    scores = dict.fromkeys((tables.main_score(record), "energy_score"))
    for title, (header, rows) in (
        ("settings chosen", tables.settings_table(record)),
        *((tables.NAMES[s], tables.table(record, s)) for s in scores),
    ):
        shown = Table(*header, title=title, box=None, title_justify="left", header_style="bold")
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    path.with_suffix(".md").write_text(tables.markdown(record))
    console.print(f"results  {path}\nall tables  {path.with_suffix('.md')}", highlight=False)


def save(record: Record, plan: Plan, path: Path) -> None:
    """Write the record with provenance; NaN becomes null."""
    origin = results.provenance(dataclasses.asdict(plan), seed=plan.scoring[0])
    whole = _plain({**record, "provenance": origin})
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _earlier(path: Path, name: str, plan: Plan) -> Record | None:
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text())
        same = record["experiment"], {**record["plan"], "members": None}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a reproduction's record ({error}); it is kept") from error
    if same != (name, _plain({**dataclasses.asdict(plan), "members": None})):
        raise ValueError(f"{path} is of another experiment or plan; it is kept, choose another -o")
    return record
