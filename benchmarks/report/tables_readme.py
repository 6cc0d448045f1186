"""README's one table of measured results."""

from __future__ import annotations

from collections import Counter

import numpy as np

from benchmarks.report.origin import made_by
from benchmarks.report.tables_untuned import (
    ITERATED,
    PAPER,
    figure,
    named,
    standing,
    stronger_with_more,
    strongest,
)
from benchmarks.report.text import paragraph
from benchmarks.shared.comparison import UNTUNED, compare, standard_error, untuned_label
from kdediff_jax import experiments
from kdediff_jax.experiments import tables

BIMODAL = ("toy-bimodal",)  # no reference for W2, and RMSE means nothing
NOT_STATED = ("lorenz96-10", "lorenz96-20")
OPERATOR = "‡"


def sizes(record):
    """Return the smallest and the largest ensemble of every problem, other measurements apart."""
    found = {}
    for cell in record["cells"]:
        name, n, *measurement = cell.split(":")
        if not measurement:
            found.setdefault(name, set()).add(int(n))
    return {name: sorted({min(have), max(have)}) for name, have in sorted(found.items())}


def score_of(name, filters):
    """Return the score that tells filters apart on a problem."""
    if "w2" in filters[untuned_label(filters)]["scores"]:
        return "w2"
    return "energy_score" if name in BIMODAL else "rmse"


def row(record, name, n, largest):
    """Return one problem's row."""
    filters = record["cells"][f"{name}:{n}"]["filters"]
    score = score_of(name, filters)
    found = compare(filters, score)
    rival = f"{found.rival:.3g}"
    rival = f"**{rival}**" if found.behind else rival
    scores = np.asarray(filters[untuned_label(filters)]["scores"][score])
    return [
        f"`{name}`, N = {n}",
        tables.NAMES[score].removesuffix(" of the mean"),
        f"{found.untuned:.3g} ± {standard_error(scores):.2g}",
        f"{rival} {named(found.name)}",
        best_published(name, score, n, found.untuned, largest),
    ]


def best_published(name, score, n, ours, largest):
    """Return the strongest figures; that of more members only beside our largest ensemble."""
    known = [e for e in experiments.load(name).expected if e.score == score]
    found = [strongest(known, n)]
    if largest and not any(PAPER in e.source for e in known):
        found.append(stronger_with_more(known, n))
    mark = OPERATOR if name in NOT_STATED else ""
    return "; ".join(figure(e, ours) + mark for e in found if e)


def commits(record):
    """Return how many problems were run with the untuned filter of each commit."""
    of = Counter(
        line["commit"][:7]
        for cell in record["cells"].values()
        for label, line in cell["filters"].items()
        if label in UNTUNED
    )
    return ", ".join(f"{commit} {number}" for commit, number in of.most_common())


def measured(record):
    """Return the table with what it says."""
    ahead, level, behind = standing(record)
    rows = [
        row(record, name, n, largest=n == have[-1])
        for name, have in sizes(record).items()
        for n in have
    ]
    header = ["problem", "score", "untuned filter", "best tuned rival", "strongest published"]
    parts = [
        "Mean ± standard error over 10 simulations (40 in three of the small problems), lower is "
        "better; bold is ahead of the untuned filter: a rival by more than two standard "
        "errors of the differences paired by seed, a published figure in the mean. The untuned "
        "filter is `kd.EnKPF()`, or `kd.LEnKPF(localisation)` where the experiment has a "
        "localisation; its rivals EnKF, SIR and, there, LETKFs are tuned on other seeds. Of each "
        "problem the smallest and the largest ensemble measured.",
        tables.markdown_table(header, rows),
        f"{ITERATED} {OPERATOR} The paper does not state its operator. By energy score, "
        f"in all {len(record['cells'])} problems, sizes, noises and operators run, the untuned "
        f"filter is ahead of its best tuned rival in {ahead}, level in {level} and behind in "
        f"{len(behind)}: {'; '.join(behind)}. Everything else is in "
        "[RESULTS.md](benchmarks/RESULTS.md).",
        made_by(record, "untuned", note=f"; problems by commit: {commits(record)}"),
    ]
    return "\n\n".join(map(paragraph, parts)) + "\n"
