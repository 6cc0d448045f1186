"""A reproduction's record: its shape, and how it is stored and read again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypeAlias, TypedDict, TypeVar, cast

from .. import _files, results

Value = TypeVar("Value")
Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | None"
Point = dict[str, float]  # settings by name; of a finalist, its score as well

# In a file NaN is null: a score that does not apply, or the standard error of one run.
Statistics = TypedDict(
    "Statistics",
    {"mean": float | None, "standard error": float | None, "median": float | None},
)


class FilterRecord(TypedDict):
    """One filter at one ensemble size: what it was set to and how it did."""

    settings: NotRequired[Point]
    scores: dict[str, Statistics]
    diverged: int


# `chosen` holds the point of each tuned filter, "settings tried" and "finalists".
SizeRecord = TypedDict(
    "SizeRecord",
    {
        "chosen": dict[str, int | Point | list[Point]],
        "filters": dict[str, FilterRecord],
        "sampling floor of w2": NotRequired[Statistics],
    },
)


class PublishedScore(TypedDict):
    """An `Expected` of the experiment."""

    method: str
    members: int
    score: str
    value: float
    source: str


class PlanRecord(TypedDict):
    """A `Plan` of `reproduction.py`."""

    members: Sequence[int]
    tuning: Sequence[int]
    scoring: Sequence[int]
    finalists: int
    w2_every: int
    num_cycles: int | None
    every_bandwidth: int


Record = TypedDict(
    "Record",
    {
        "experiment": str,
        "plan": PlanRecord,
        "selected by": str,
        "members": dict[str, SizeRecord],
        "published": list[PublishedScore],
    },
)


def plain(value: object) -> Json:
    """Return a value as JSON holds it: tuples are lists and NaN is null."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"value: expected what JSON can hold, got {type(value).__name__}")


def save(record: Record, plan: PlanRecord, path: Path) -> None:
    """Write the record with the provenance of this call, whole or not at all."""
    origin = results.provenance(plan, seed=plan["scoring"][0])
    whole = plain({**record, "provenance": origin})
    _files.replace(path, (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode())


def read(path: Path, experiment: str, plan: PlanRecord) -> Record | None:
    """Return the record of an earlier call, or None where there is no file.

    Its ensemble sizes may be others; older names of filters are replaced by today's.

    Raises:
        ValueError: the file is no record, or that of another experiment or plan.
    """
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        same = record["experiment"], {**record["plan"], "members": None}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a reproduction's record ({error}); it is kept") from error
    if same != (experiment, plain({**plan, "members": None})):
        raise ValueError(f"{path} is of another experiment or plan; it is kept, choose another -o")
    return with_new_names(record)


def with_new_names(record: Record) -> Record:
    """Return a record whose filters have today's names: `enkf-pairs` was `enkf-sampled`."""

    def renamed(by_filter: Mapping[str, Value]) -> dict[str, Value]:
        return {
            label.replace("enkf-sampled", "enkf-pairs"): entry for label, entry in by_filter.items()
        }

    sizes = {
        n: {**size, "chosen": renamed(size["chosen"]), "filters": renamed(size["filters"])}
        for n, size in record["members"].items()
    }
    return cast(Record, {**record, "members": sizes})
