"""RESULTS.md on the paper's systems: its tables, ours beside them, and the reference."""

from __future__ import annotations

import numpy as np

from benchmarks.index import PAPER
from benchmarks.report.origin import made_by
from benchmarks.report.tables_untuned import named
from benchmarks.report.text import anchor, section
from benchmarks.shared.comparison import QUARTERS, standard_error, untuned_label
from kdediff_jax.experiments import tables

REFERENCE = "How good the reference of lorenz63-z is"
TITLES = {
    "lorenz63-z": "Lorenz-63, only z measured: exact W2 to the reference posterior",
    "lorenz96-10": "Lorenz-96, d = 10, arctan of everything measured: RMSE of the mean",
    "lorenz96-20": "Lorenz-96, d = 20, the same",
}
ROWS = ("kde", "enkf tuned", "sir tuned")  # of the reproduction, beside the untuned filter


def paper(untuned, symmetry, records):
    """The paper's tables, short."""
    perfect = symmetry["members"]
    drawn = ", ".join(f"{by['perfect draws']['protocol']['mean']:.3g}" for by in perfect.values())
    return section(
        PAPER,
        "Mean ± standard error over 10 simulations, lower is better; those of the untuned filter "
        "are others than those of the tuned filters (above they are the same). Medians, diverged "
        "runs and settings are below. The paper does not tell its settings; for `lorenz96-*` not "
        "even the operator: compare the order of its rows only.",
        *(part for record in records for part in _beside(untuned, record)),
        "The masses of the two modes drift in the reference of `lorenz63-z`, 100,000 particles: "
        f"perfect draws of the posterior score {drawn} against it at N = {', '.join(perfect)} "
        f"([how good the reference is](#{anchor(REFERENCE)})).",
        made_by(records[0], *(r["experiment"] for r in records), "untuned", note=" and later"),
    )


def _beside(untuned, record):
    """Return one problem's table: the untuned filter, the tuned ones, the paper's rows."""
    name, score = record["experiment"], tables.main_score(record)
    header, rows = tables.table(record, score)
    sizes = [column.removeprefix("N = ") for column in header[1:]]
    measured = [n for n in sizes if f"{name}:{n}" in untuned["cells"]]
    kept = [0, *(1 + sizes.index(n) for n in measured)]
    ours = ["untuned filter", *(_mean(untuned["cells"][f"{name}:{n}"], score) for n in measured)]
    short = [row for row in rows if row[0] in ROWS or row[0].startswith(("paper", "samp"))]
    names = {
        "kde": "the paper's filter, tuned",
        "enkf tuned": "EnKF tuned",
        "sir tuned": "SIR tuned",
    }
    names |= {f"paper: {k}": f"paper: {named(k)}" for k in ("enkf", "sir")}
    others = [[names.get(row[0], row[0]), *(c.split(" (")[0] for c in row[1:])] for row in short]
    return (
        f"`{name}`, {tables.NAMES[score]}:",
        tables.markdown_table(
            [header[i] for i in kept], [ours, *([row[i] for i in kept] for row in others)]
        ),
    )


def _mean(cell, score):
    scores = np.asarray(cell["filters"][untuned_label(cell["filters"])]["scores"][score], float)
    return f"{scores.mean():.3g} ± {standard_error(scores):.2g}"


def reproduced(record):
    """Tables of one reproduction."""
    name = record["experiment"]
    scoring, tuning = (len(record["plan"][key]) for key in ("scoring", "tuning"))
    selected = tables.NAMES[record["selected by"]]
    return section(
        TITLES[name],
        f"Mean ± standard error over {scoring} simulations (median; diverged runs), lower is "
        f"better. Settings chosen by {selected} on {tuning} other seeds, equally many for each "
        f"filter; [all scores](results/{name}.md).",
        tables.markdown_table(*tables.table(record, tables.main_score(record))),
        tables.markdown_table(*tables.settings_table(record)),
        made_by(record, name),
    )


def reference_symmetry(record):
    """What perfect draws would score against the reference of lorenz63-z."""
    rows = []
    for label in next(iter(record["members"].values())):
        for to in ("protocol", "symmetric"):
            found = [by[label][to] for by in record["members"].values()]
            failed = [f"; {f['failed']} failed" if f["failed"] else "" for f in found]
            shown = [f"{f['mean']:.3g} ± {f['standard error']:.2g}" for f in found]
            rows.append([f"{label}, {to}", *map("".join, zip(shown, failed, strict=True))])
    masses = [f"{q['mean']:.3f}" for q in record[QUARTERS]]
    return section(
        REFERENCE,
        "By symmetry x is above 0 with probability 1/2 in every cycle. In the reference of the "
        f"paper's protocol, 100,000 particles, that share is off by {', '.join(masses)} on average "
        "in the four quarters of a run. So even perfect draws of the posterior are far from it "
        '("protocol"): no filter can be expected below these floors. Against half of its particles '
        'with their mirror images ("symmetric") W2 tells filters apart better. Same seeds and '
        "settings as in the first table; chaos and another program's rounding give other runs.",
        tables.markdown_table(["W2", *(f"N = {n}" for n in record["members"])], rows),
        made_by(record, "reference_symmetry"),
    )
