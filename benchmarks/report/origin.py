"""What a record measured and where it comes from, as the tables say it."""

from __future__ import annotations

import json

from benchmarks.index import find


def title(cell):
    """Return "problem:members" or "problem:members:noise:operator" as a reader wants it."""
    name, n, *measurement = cell.split(":")
    return ", ".join([name, f"N = {n}", *([" ".join(measurement)] if measurement else [])])


def origin(record):
    """Return device, version, date and commit of a record."""
    p = record["provenance"]
    device = "CPU" if p["device"] == p["platform"] == "cpu" else f"{p['device']} ({p['platform']})"
    return f"{device}, jax {p['jax']}, {p['created'][:10]}, commit {p['commit'][:10]}"


def made_by(record, *names, note=""):
    """Return origin and command in brackets."""
    commands = ", ".join(f"`{find(name).command}`" for name in names)
    return f"({origin(record)}{note}; {commands})"


def settings_of(record):
    """Return the settings of a record."""
    return json.loads(record["provenance"]["settings"])
