"""RESULTS.md on the untuned filter against tuned rivals and published figures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.index import UNTUNED
from benchmarks.report.origin import made_by, title
from benchmarks.report.text import section
from benchmarks.shared.comparison import RIVALS, compare, standard_error, untuned_label
from kdediff_jax import experiments
from kdediff_jax.experiments import tables

PAPER = "2603.21291"
NAMES = {
    "enkf": "EnKF",
    "sir": "SIR",
    "letkf": "LETKF",
    "letkf rotated": "LETKF rotated",
    "ensf": "EnSF",
    "kde": "the paper's filter",
}
AGAIN = "†"  # runs the model again
ITERATED = f"{AGAIN} An iterated smoother runs the model again inside every analysis."


def named(method):
    """Return a filter's name as a reader wants it."""
    method = method.removesuffix(" tuned")
    return NAMES.get(method, method)


class Standing(NamedTuple):
    """In how many cells the untuned filter is ahead and level, and in which behind."""

    ahead: int
    level: int
    behind: list[str]


def standing(record):
    """Return how the energy score of the untuned filter compares, over all cells."""
    found = {cell: compare(c["filters"], "energy_score") for cell, c in record["cells"].items()}
    behind = [title(cell) for cell, c in found.items() if c.behind]
    ahead = sum(c.difference < -2 for c in found.values())
    return Standing(ahead, len(found) - ahead - len(behind), behind)


def untuned(record):
    """The untuned filter against the best-tuned classical ones."""
    ahead, level, behind = standing(record)
    rows = [_row(cell, body["filters"]) for cell, body in record["cells"].items()]
    header = ["problem", "energy score", "CRPS", "RMSE", "W2"]
    header += ["median energy score", "coverage", "diverged"]
    return section(
        UNTUNED,
        "Energy score of `kd.EnKPF()`, or `kd.LEnKPF(localisation)` where the experiment has a "
        "localisation, nothing tuned, over that of the best of EnKF, SIR and, with a localisation, "
        "two LETKFs, each tuned on other seeds (named in brackets; below 1 the untuned filter is "
        f"ahead). Differences are paired by seed: of {len(rows)} cells the untuned filter is ahead "
        f"by more than two standard errors in {ahead}, level in {level}, and behind in "
        f"{len(behind)} (bold).",
        tables.markdown_table(["problem", "untuned / best tuned rival"], _ratios(record)),
        "The same cell by cell: the rivals are EnKF (best of 9 inflations; knows h and R), SIR "
        "(best of 9 jitters; knows the density) and, with a localisation, LETKFs without and with "
        "random rotations of the ensemble, each tuned by energy score on other seeds (4, or 16 "
        "where the last column counts 40 runs); at most 500 cycles; differences paired by seed, in "
        "standard errors; coverage of the 90 % interval; runs that diverged: untuned / EnKF / SIR "
        "/ LETKFs, of all. Medians, against the rival of least median, show what a filter does "
        "when it does not lose the truth.",
        tables.markdown_table(header, rows),
        *_references(record),
        made_by(record, "untuned", note=f", the untuned filter's runs at {_commits(record)}"),
    )


def _commits(record):
    found = {c["filters"][untuned_label(c["filters"])]["commit"] for c in record["cells"].values()}
    return " and ".join(sorted(found))


def _ratios(record):
    """Return rows of the ratios of energy scores, one for each problem."""
    groups = {}
    for cell, body in record["cells"].items():
        name, n, *measurement = cell.split(":")
        found = compare(body["filters"], "energy_score")
        problem = f"{name}, N = {n}, {measurement[1]} operator" if measurement else name
        label = f"{measurement[0]} noise" if measurement else f"N = {n}"
        ratio = f"{found.untuned / found.rival:.2f}"
        ratio = f"**{ratio}**" if found.behind else ratio
        place = (0, measurement[0]) if measurement else (int(n), "")
        text = f"{label}: {ratio} ({named(found.name)})"
        groups.setdefault(problem, []).append((place, text))
    return [
        [problem, ", ".join(text for _, text in sorted(cells))]
        for problem, cells in sorted(groups.items())
    ]


def _row(cell, filters):
    """Return the cell's scores over those of the best rival."""
    mine, behind, scores = untuned_label(filters), False, []
    for score in ("energy_score", "crps", "rmse", "w2"):
        found = compare(filters, score)
        if found is None:
            scores.append("")
            continue
        behind |= score in ("energy_score", "crps") and found.behind
        scores.append(
            f"{found.untuned:.3g} / {found.rival:.3g} = {found.untuned / found.rival:.2f} "
            f"({named(found.name)}; {found.difference:+.1f} se)"
        )
    medians = {k: np.median(filters[k]["scores"]["energy_score"]) for k in filters}
    best = min((k for k in RIVALS if k in filters), key=medians.get)
    diverged = [str(filters[k]["diverged"]) for k in (mine, *RIVALS) if k in filters]
    return [
        title(cell) + (" **(behind)**" if behind else ""),
        *scores,
        f"{medians[mine]:.3g} / {medians[best]:.3g} ({named(best)})",
        f"{np.mean(filters[mine]['scores']['coverage']):.2f}",
        f"{' / '.join(diverged)} of {len(filters[mine]['scores']['rmse'])}",
    ]


def _references(record):
    for name, found in record.get("reference", {}).items():
        scores = np.asarray(found["energy_score"])
        shown = f"{scores.mean():.3g} ± {standard_error(scores):.2g}"
        yield (
            f"On `{name}` the reference posterior itself has an energy score of {shown} on these "
            f"{len(scores)} seeds. No filter is better in expectation; one that is below it here "
            "was lucky with these truths."
        )


def figure(expected, ours=-np.inf):
    """Return a published figure with its method and size; bold where it is ahead of ours."""
    value = f"{expected.value:.3g}"
    value = f"**{value}**" if expected.value < ours else value
    again = AGAIN if expected.method.startswith("iEnKS") else ""
    return f"{value} {named(expected.method)}{again}, N = {expected.members}"


def strongest(known, n):
    """Return the strongest published figure of at most n members, or None."""
    within = [e for e in known if e.members <= n]
    return min(within, key=lambda e: (e.value, e.members), default=None)


def stronger_with_more(known, n):
    """Return the strongest figure of all if it takes more than n members, or None."""
    best = min(known, key=lambda e: (e.value, e.members), default=None)
    return best if best is not None and best.members > n else None


def published(name, score):
    """Return the figures of one score that an experiment knows, but for the paper's."""
    found = experiments.load(name).expected
    return [e for e in found if e.score == score and PAPER not in e.source]


def against_published(record):
    """The untuned filter beside other people's figures for the same problem."""
    rows = []
    for cell, body in record["cells"].items():
        name, n, *measurement = cell.split(":")
        known = [] if measurement else published(name, "rmse")
        if known:
            filters = body["filters"]
            ours = np.mean(filters[untuned_label(filters)]["scores"]["rmse"])
            first, more = strongest(known, int(n)), stronger_with_more(known, int(n))
            rest = [e for e in known if e not in (first, more)]
            shown = [figure(e, ours) if e else "" for e in (first, more)]
            others = "; ".join(figure(e, ours) for e in rest)
            rows.append([name, int(n), f"{ours:.3g}", *shown, others])
    header = ["problem", "untuned filter", "strongest published", "stronger with more members"]
    return section(
        "Beside published figures",
        "RMSE of the mean of the untuned filter, and all that others list for the setting, mostly "
        "tuned; the strongest first, bold where it is ahead of ours. Sources are in "
        f"[kdediff_jax/experiments/settings](../kdediff_jax/experiments/settings). {ITERATED}",
        tables.markdown_table(
            [*header, "also listed"],
            [[f"{name}, N = {n}", *cells] for name, n, *cells in sorted(rows)],
        ),
        made_by(record, "untuned"),
    )
