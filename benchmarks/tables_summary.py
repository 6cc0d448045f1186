"""The README's short tables; `benchmarks/RESULTS.md` has the whole ones."""

from __future__ import annotations

import numpy as np
from comparison import compare, standard_error
from origin import origin

from kdediff_jax import experiments
from kdediff_jax.experiments import tables

SYMMETRY = "how-good-the-reference-of-lorenz63-z-is"
NAMES = {"enkf": "EnKF", "sir": "SIR", "letkf": "LETKF", "ensf": "EnSF"}
PAPER_ROWS = ("kde", "enkf tuned", "sir tuned")  # of the reproduction, beside the untuned default


def against_classical(record):
    """Ratios of the energy scores of the untuned default and of its best tuned rival."""
    groups, lost, better = {}, 0, 0
    for cell, body in record["cells"].items():
        name, n, *measurement = cell.split(":")
        found = compare(body["filters"], "energy_score")
        problem = f"{name}, N = {n}, {measurement[1]} operator" if measurement else name
        label = f"{measurement[0]} noise" if measurement else f"N = {n}"
        ratio = f"{found.default / found.rival:.2f}"
        lost += found.behind
        better += found.difference < -2
        rival = _named(found.name.removesuffix(" tuned"))
        shown = f"{label}: **{ratio}**" if found.behind else f"{label}: {ratio}"
        key = n if not measurement else measurement[0]
        groups.setdefault(problem, []).append((key, f"{shown} ({rival})"))
    rows = [
        [problem, ", ".join(text for _, text in sorted(cells, key=_order))]
        for problem, cells in sorted(groups.items())
    ]
    return [
        "### The untuned default against tuned classical filters",
        "",
        "Energy score of `kd.KDEDiffusion()`, nothing tuned, over that of the best of EnKF, SIR",
        "and, where there is a localisation, two LETKFs, each tuned on other seeds (named in",
        "brackets; below 1 the default is ahead). Differences are paired by seed: of",
        f"{len(record['cells'])} cells the default is ahead by more than two standard errors in",
        f"{better}, level in {len(record['cells']) - better - lost}, and behind in {lost} (bold).",
        "",
        tables.markdown_table(["problem", "default / best tuned rival"], rows),
        "",
        f"({origin(record)}; `python benchmarks/untuned.py`)",
        "",
    ]


def _named(method):
    for short, name in NAMES.items():
        method = method.replace(short, name)
    return method


def _order(cell):
    key, _ = cell
    return (int(key), "") if key.isdigit() else (0, key)


def against_published(record):
    """The untuned default beside other people's figures for the same problem."""
    rows = []
    for cell, body in record["cells"].items():
        name, n, *measurement = cell.split(":")
        known = [
            e
            for e in experiments.load(name).expected
            if e.members == int(n) and e.score == "rmse" and "2603.21291" not in e.source
        ]
        if not measurement and known:
            found = np.array(body["filters"]["kde-auto"]["scores"]["rmse"])
            shown = ", ".join(f"{_named(e.method)} {e.value:g}" for e in known)
            rows.append([f"{name}, N = {n}", f"{found.mean():.3g}", shown])
    return [
        "### Beside published figures",
        "",
        "RMSE of the mean of the untuned default, and what others report for the setting, mostly",
        "tuned; sources in [kdediff_jax/experiments](kdediff_jax/experiments).",
        "",
        tables.markdown_table(["problem", "untuned default", "published"], sorted(rows, key=_cell)),
        "",
        f"({origin(record)}; `python benchmarks/untuned.py`)",
        "",
    ]


def _cell(row):
    name, n = row[0].split(", N = ")
    return name, int(n)


def against_paper(untuned, record):
    """The paper's table of one problem: the untuned default, the tuned filters, its own rows."""
    name, score = record["experiment"], tables.main_score(record)
    header, rows = tables.table(record, score)
    sizes = [column.removeprefix("N = ") for column in header[1:]]
    default = [
        untuned["cells"].get(f"{name}:{n}", {"filters": {}})["filters"].get("kde-auto")
        for n in sizes
    ]
    ours = [_mean(found["scores"][score]) if found else "" for found in default]
    short = [row for row in rows if row[0] in PAPER_ROWS or row[0].startswith(("paper", "samp"))]
    names = {"kde": "the paper's kernel, tuned"}
    table = [["untuned default", *ours]]
    table += [[names.get(r[0], _named(r[0])), *(c.split(" (")[0] for c in r[1:])] for r in short]
    kept = [i for i, _ in enumerate(header) if i == 0 or table[0][i]]
    return [
        f"`{name}`, {tables.NAMES[score]}:",
        "",
        tables.markdown_table([header[i] for i in kept], [[row[i] for i in kept] for row in table]),
        "",
    ]


def _mean(scores):
    scores = np.asarray(scores, float)
    return f"{scores.mean():.3g} ± {standard_error(scores):.2g}"


def paper(untuned, symmetry, records):
    """The paper's tables, short."""
    perfect = symmetry["members"]
    drawn = [f"{by['perfect draws']['protocol']['mean']:.3g}" for by in perfect.values()]
    return [
        "### The paper's tables",
        "",
        "Mean ± standard error over 10 simulations, lower is better; those of the untuned default",
        "are others than those of the tuned filters (above they are the same). Medians, diverged",
        "runs and settings are in [RESULTS.md](benchmarks/RESULTS.md). The paper does not tell its",
        "settings; for `lorenz96-*` not even the operator: compare the order of its rows only.",
        "",
        *(line for record in records for line in against_paper(untuned, record)),
        "The masses of the two modes drift in the reference of `lorenz63-z`, 100,000 particles:",
        f"perfect draws of the posterior score {', '.join(drawn)} against it at N =",
        f"{', '.join(perfect)} ([how good the reference is](benchmarks/RESULTS.md#{SYMMETRY})).",
        "",
        f"({origin(records[0])} and later; `kdediff reproduce`, `python benchmarks/untuned.py`)",
        "",
    ]
