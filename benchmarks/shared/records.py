"""The records in `benchmarks/results`, each with its provenance."""

from __future__ import annotations

import json
import os
from pathlib import Path

from kdediff_jax.results import provenance

RESULTS = Path(__file__).parents[1] / "results"
OUTPUT = Path(os.environ.get("BENCH_RESULTS", RESULTS))  # to try something, name another folder


def read(name: str) -> dict:
    """Return a committed record."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def commit() -> str:
    """Return the checkout's commit, short."""
    return provenance({}, seed=0)["commit"][:10]


def save(name: str, settings: dict, body: dict, *, seed: int = 0, partial: bool = False) -> None:
    """Write `results/NAME.json` with provenance; of a part of the measurement, nothing."""
    if partial:
        print(f"a part of the measurement: {name}.json is not written")
        return
    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / f"{name}.json"
    record = {"provenance": provenance(settings, seed=seed), **body}
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {path}")
