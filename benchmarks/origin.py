"""What a record measured and where it comes from, as the tables say it."""

from __future__ import annotations


def title(cell):
    """Return "problem:members" or "problem:members:noise:operator" as a reader wants it."""
    name, n, *measurement = cell.split(":")
    return ", ".join([name, f"N = {n}", *([" ".join(measurement)] if measurement else [])])


def origin(record):
    """Return device, version, date and commit of a record."""
    p = record["provenance"]
    return (
        f"{p['device']} ({p['platform']}), jax {p['jax']}, {p['created'][:10]}, "
        f"commit {p['commit'][:10]}"
    )
