"""RESULTS.md on large fields and the localised filter."""

from __future__ import annotations

import numpy as np

from benchmarks.report.origin import made_by, settings_of
from benchmarks.report.text import section
from kdediff_jax.experiments import tables

SHOWN = (1, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80)  # analyses


def lost_neighbourhoods(record):
    """Large fields through arctan, from members that know nothing."""
    groups = {}
    for row in record["rows"]:
        key = tuple(row[k] for k in ("measured", "interval", "d", "filter"))
        groups.setdefault(key, []).append(row)
    lines = [
        [
            measured,
            f"{interval:g}",
            f"{d:,}",
            label,
            str(len(rows)),
            f"{np.median([r['rmse'] for r in rows]):.3g}",
            f"{max(r['rmse'] for r in rows):.3g}",
            f"{100 * np.mean([r['lost'] for r in rows]):.2f}",
            str(sum(r["failed"] for r in rows)),
            f"{np.median([r['cpu seconds a cycle'] for r in rows]):.3g}",
        ]
        for (measured, interval, d, label), rows in groups.items()
    ]
    heads = ("measured", "every", "coordinates", "filter", "runs", "median RMSE at the end")
    theirs = record["published"]
    return section(
        "Lost neighbourhoods",
        "Lorenz-96, arctan (or tanh, on which nothing was chosen) of the coordinates measured with "
        "standard deviation 0.05, 20 members N(0, I), 80 analyses (`enff-l96`), the untuned "
        f"localised filter. Published with all measured, d = {theirs['d']:,}: EnFF "
        f"{theirs['EnFF']}, EnSF {theirs['EnSF']}.",
        tables.markdown_table(
            [*heads, "largest", "sites lost, %", "failed cycles", "CPU s a cycle"], lines
        ),
        made_by(record, "lost_neighbourhoods"),
    )


def million_filtered(record):
    """One run of a million coordinates, analysis by analysis."""
    rows, settings = record["rows"], settings_of(record)
    lines = [
        [
            str(row["analysis"]),
            f"{row['rmse']:.3f}",
            f"{1e6 * row['lost']:,.0f}",
            f"{row['seconds']:.0f}",
            f"{row['CPU seconds']:.0f}",
        ]
        for row in rows
        if row["analysis"] in SHOWN
    ]
    flagged = [str(row["analysis"]) for row in rows if not row["ok"]]
    return section(
        "A million coordinates, filtered",
        f"`enff-l96` at d = {settings['d']:,}: {settings['members']} members, radius "
        f"{settings['radius']:g}, the untuned localised filter on {settings['devices']} virtual "
        "devices, one seed. Published: EnFF .172, EnSF .403. Largest memory "
        f"{max(row['peak MiB'] for row in rows) / 1024:.1f} GiB. Analyses that were flagged: "
        f"{', '.join(flagged) or 'none'}.",
        tables.markdown_table(
            ["analysis", "RMSE", "sites lost of a million", "seconds", "CPU seconds"], lines
        ),
        made_by(record, "million_filtered"),
    )
