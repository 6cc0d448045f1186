"""Tables of a reproduction's record."""

from __future__ import annotations

from .records import FilterRecord, Record

TUNED = ("kde", "kde-mixture", "enkf", "enkf-pairs", "sir")
NAMES = {
    "w2": "W2",
    "sliced_w2": "sliced W2",
    "energy_score": "energy score",
    "crps": "CRPS",
    "rmse": "RMSE of the mean",
    "spread": "spread",
    "coverage": "coverage of the 90 % interval",
    "rank_p": "rank histogram: flatness p, the worst coordinate",
    "ess": "effective sample size",
    "steps": "solver steps per analysis",
}
PAPER = "arXiv 2603.21291"


def main_score(record: Record) -> str:
    """Return the score of the published table, W2 or RMSE; without one, the most telling."""
    scores = {entry["score"] for entry in record["published"]}
    if scores:
        return min(scores)
    return "w2" if "w2" in scores_in(record) else record["selected by"]


def scores_in(record: Record) -> list[str]:
    """Return the scores that the record has."""
    sizes = record["members"].values()
    have = {s for size in sizes for f in size["filters"].values() for s in f["scores"]}
    return [name for name in NAMES if name in have]


def table(record: Record, score: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of one score: mean ± standard error (median; diverged runs).

    The paper's values and the sampling floor are rows of their own.
    """
    sizes = sorted(record["members"], key=int)
    rows = _measured(record, score, sizes) + _published(record, score, sizes)
    if score == "w2":
        floors = [record["members"][n].get("sampling floor of w2") for n in sizes]
        means = [None if floor is None else floor["mean"] for floor in floors]
        rows.append(["sampling floor", *("" if m is None else f"{m:.2f}" for m in means)])
    return ["filter", *(f"N = {n}" for n in sizes)], rows


def _measured(record: Record, score: str, sizes: list[str]) -> list[list[str]]:
    """Return a row for every filter that has the score at any ensemble size."""
    filters = [record["members"][n]["filters"] for n in record["members"]]
    rows = []
    for label in dict.fromkeys(label for found in filters for label in found):
        cells = [_cell(record["members"][n]["filters"].get(label), score) for n in sizes]
        if any(cells):
            rows.append([label, *cells])
    return rows


def _published(record: Record, score: str, sizes: list[str]) -> list[list[str]]:
    """Return a row for every method of the published table, the paper's own told from others'."""
    rows = {}
    for entry in record["published"]:
        if entry["score"] == score:
            origin = "paper" if PAPER in entry["source"] else "published"
            row = rows.setdefault(f"{origin}: {entry['method']}", {})
            row[str(entry["members"])] = f"{entry['value']:g}"
    return [[label, *(row.get(n, "") for n in sizes)] for label, row in rows.items()]


def _cell(entry: FilterRecord | None, score: str) -> str:
    if entry is None or score not in entry["scores"]:
        return ""
    found = entry["scores"][score]
    if found["mean"] is None:
        return f"failed ({entry['diverged']} diverged)"
    error = "" if found["standard error"] is None else f" ± {found['standard error']:.2g}"
    lost = f"; {entry['diverged']} div." if entry["diverged"] else ""
    return f"{found['mean']:.3g}{error} ({found['median']:.3g}{lost})"


def settings_table(record: Record) -> tuple[list[str], list[list[str]]]:
    """Return the chosen settings by filter and ensemble size."""
    sizes = sorted(record["members"], key=int)
    rows = []
    for name in TUNED:
        chosen = [record["members"][n]["chosen"].get(name) for n in sizes]
        points = [point for point in chosen if isinstance(point, dict)]
        if not points or len(points) < len(sizes):
            continue
        axes = ", ".join(axis.replace("_", " ") for axis in points[0])
        cells = [", ".join(f"{value:.3g}" for value in point.values()) for point in points]
        rows.append([f"{name}: {axes}", *cells])
    return ["chosen", *(f"N = {n}" for n in sizes)], rows


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def markdown(record: Record) -> str:
    """Return all tables of a record."""
    plan = record["plan"]
    parts = [
        f"# {record['experiment']}",
        f"Mean ± standard error (median; diverged runs) over {len(plan['scoring'])} simulations. "
        f"Settings chosen by {NAMES[record['selected by']]} on {len(plan['tuning'])} other seeds; "
        "the rules are in `kdediff_jax/experiments/reproduction.py`.",
        markdown_table(*settings_table(record)),
    ]
    for score in scores_in(record):
        parts += [f"## {NAMES[score]}", markdown_table(*table(record, score))]
    return "\n\n".join(parts) + "\n"
