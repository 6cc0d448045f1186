"""RESULTS.md on the default filter: its tables."""

from __future__ import annotations

import numpy as np
from comparison import RIVALS, compare, standard_error
from origin import origin, title

from kdediff_jax.experiments import tables

QUARTERS = "error of the reference's mass, by quarter of the run"


def untuned(record):
    """The default filter against the best-tuned classical ones, cell by cell."""
    rows, lost = [], 0
    commits = sorted({body["filters"]["kde-auto"]["commit"] for body in record["cells"].values()})
    for cell, body in record["cells"].items():
        filters = body["filters"]
        row = [title(cell)]
        behind = False
        for score in ("energy_score", "crps", "rmse", "w2"):
            found = compare(filters, score)
            if found is None:
                row.append("")
                continue
            behind |= score in ("energy_score", "crps") and found.behind
            row.append(
                f"{found.default:.3g} / {found.rival:.3g} = {found.default / found.rival:.2f} "
                f"({found.name.removesuffix(' tuned')}; {found.difference:+.1f} se)"
            )
        medians = {k: np.median(filters[k]["scores"]["energy_score"]) for k in filters}
        best = min((k for k in RIVALS if k in filters), key=medians.get)
        row.append(
            f"{medians['kde-auto']:.3g} / {medians[best]:.3g} ({best.removesuffix(' tuned')})"
        )
        row.append(f"{np.mean(filters['kde-auto']['scores']['coverage']):.2f}")
        row.append(
            " / ".join(str(filters[k]["diverged"]) for k in ("kde-auto", *RIVALS) if k in filters)
            + f" of {len(filters['kde-auto']['scores']['rmse'])}"
        )
        lost += behind
        row[0] = f"{row[0]} **(lost)**" if behind else row[0]
        rows.append(row)
    header = ["problem", "energy score", "CRPS", "RMSE", "W2"]
    header += ["median energy score", "coverage", "diverged"]
    return [
        "### The untuned default against tuned classical filters",
        "",
        "`kd.KDEDiffusion()` as it is, over the better of EnKF (best of 9 inflations; knows h and",
        "R) and SIR (best of 9 jitters; knows the density), each tuned by energy score on other",
        "seeds (4, or 16 where the last column counts 40 runs); at most 500 cycles; differences",
        "paired by seed, in standard errors; coverage of its 90 % interval; runs that diverged:",
        "default / EnKF / SIR, of all. Where the experiment has a localisation, the default uses",
        "it, and two tuned LETKFs are rivals too, without and with random rotations of the",
        "ensemble. Medians, against the rival of least median, show what a filter does when it",
        "does not lose the truth.",
        f"Lost, by more than two standard errors or a failed run (nan): {lost} of {len(rows)}.",
        "",
        tables.markdown_table(header, rows),
        "",
        *_references(record),
        f"({origin(record)}, the default's runs at {' and '.join(commits)};",
        "`python benchmarks/untuned.py`)",
        "",
    ]


def _references(record):
    lines = []
    for name, found in record.get("reference", {}).items():
        scores = np.asarray(found["energy_score"])
        error = standard_error(scores)
        lines += [
            f"On `{name}` the reference posterior itself has an energy score of",
            f"{scores.mean():.3g} ± {error:.2g} on these {len(scores)} seeds. No filter is better",
            "in expectation; one that is below it here was lucky with these truths.",
            "",
        ]
    return lines


def reference_symmetry(record):
    """What perfect draws would score against the reference of lorenz63-z."""
    lines = next(iter(record["members"].values()))
    rows = []
    for label in lines:
        for to in ("protocol", "symmetric"):
            found = [by[label][to] for by in record["members"].values()]
            failed = [f"; {f['failed']} failed" if f["failed"] else "" for f in found]
            shown = [f"{f['mean']:.3g} ± {f['standard error']:.2g}" for f in found]
            rows.append([f"{label}, {to}", *map("".join, zip(shown, failed, strict=True))])
    masses = [f"{q['mean']:.3f}" for q in record[QUARTERS]]
    return [
        "### How good the reference of lorenz63-z is",
        "",
        "By symmetry x is above 0 with probability 1/2 in every cycle. In the reference of the",
        "paper's protocol, 100,000 particles, that share is off by",
        f"{', '.join(masses)} on average in the four quarters of a run.",
        'So even perfect draws of the posterior are far from it ("protocol"): no filter can be',
        "expected below these floors. Against half of its particles with their mirror images",
        '("symmetric") W2 tells filters apart better. Same seeds and settings as in the first',
        "table; chaos and another program's rounding give other runs.",
        "",
        tables.markdown_table(["W2", *(f"N = {n}" for n in record["members"])], rows),
        "",
        f"({origin(record)}; `python benchmarks/reference_symmetry.py`)",
        "",
    ]


def rank_histograms(record):
    """Whether the truth looks like one more member."""
    header = ["problem", "filter", "every k-th cycle", "ranks", "p", "tails"]
    rows, flat = [], 0
    for system, by in record["systems"].items():
        for label, row in by.items():
            flat += label == "kde-auto" and row["p"] > record["level"]
            shown = [str(row["lag"]), str(row["ranks per coordinate"]), f"{row['p']:.2g}"]
            rows.append([title(system), label, *shown, f"{row['tails']:.2f}"])
    return [
        "### Rank histograms",
        "",
        "20 runs, thinned until ranks are uncorrelated; p of the chi-square test, the worst",
        "coordinate's times their number. At p > "
        f"{record['level']:g} the default is flat on {flat} of {len(record['systems'])}",
        "problems. Tails: share of ranks in the outer tenths, over what it should be (above 1 too",
        "narrow, below 1 too wide). The EnKF has the same rule of inflation.",
        "",
        tables.markdown_table(header, rows),
        "",
        f"({origin(record)}; `python benchmarks/rank_histograms.py`)",
        "",
    ]


def ablation(record):
    """What each part of the default is worth."""
    return [
        "### What each part of the default is worth",
        "",
        "One setting at a time switched off or moved, on the 24 seeds that the default was",
        "developed on; in brackets the paired difference from it in standard errors, above 0 where",
        "the default is better. Failed: runs with a cycle that overflowed.",
        "",
        _variants(record["cells"]),
        "",
        f"({origin(record)}; `python benchmarks/ablation.py`)",
        "",
    ]


def local_ablation(record):
    """What each part of the localised default is worth."""
    return [
        "The localised default, on 12 of these seeds. Its inflation counts the noise of the",
        "weights beside that of the gain.",
        "",
        _variants(record["cells"]),
        "",
        f"({origin(record)}; `python benchmarks/local_ablation.py`)",
        "",
    ]


def _variants(cells):
    rows = []
    for label in next(iter(cells.values())):
        here = [rows_of[label] for rows_of in cells.values()]
        rows.append([label, *(_difference(label, row) for row in here)])
    return tables.markdown_table(["energy score", *map(title, cells)], rows)


def _difference(label, row):
    failed = f"; {row['failed']} failed" if row["failed"] else ""
    if label == "default":
        return f"{row['mean']:.3g}{failed}"
    return f"{row['mean']:.3g} ({row['difference / standard error']:+.1f}){failed}"
