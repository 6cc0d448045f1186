"""Where a measurement comes from, as the README says it."""

from __future__ import annotations


def origin(record):
    """Return device, version, date and commit of a record."""
    p = record["provenance"]
    return (
        f"{p['device']} ({p['platform']}), jax {p['jax']}, {p['created'][:10]}, "
        f"commit {p['commit'][:10]}"
    )
