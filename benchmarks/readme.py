"""Make RESULTS.md, and the README's measured section, from the committed results.

python benchmarks/readme.py            rewrites both
python benchmarks/readme.py --check    fails if one is out of date
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from origin import origin, title
from tables_default import ablation, local_ablation, rank_histograms, reference_symmetry, untuned
from tables_speed import (
    analysis_cost,
    cuthbert_filters,
    far_tiles,
    gpu_compiled,
    kernel_weights,
    million,
    scaling,
)
from tables_summary import against_classical, against_published, paper

from kdediff_jax.experiments import tables

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
START, END = "<!-- measured:start -->\n", "<!-- measured:end -->"
INTRODUCTION = """\
Made from the JSON files in [results](results) by `python benchmarks/readme.py`; the command beside
each table makes its file again. "Diverged" is a run with a failed cycle, or one that does no better
than its members would without any measurement. Which seeds, which settings, chosen how: the rules
are at the top of [reproduction.py](../kdediff_jax/experiments/reproduction.py)."""


def read(name):
    """Return a committed record."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def section(name, make):
    """Return the lines that `make` makes of a record, none if it is not there."""
    return make(read(name)) if (RESULTS / f"{name}.json").exists() else []


TITLES = {
    "lorenz63-z": "Lorenz-63, only z measured: exact W2 to the reference posterior",
    "lorenz96-10": "Lorenz-96, d = 10, arctan of everything measured: RMSE of the mean",
    "lorenz96-20": "Lorenz-96, d = 20, the same",
}


def reproduced(record):
    """Tables of one reproduction."""
    name = record["experiment"]
    scoring, tuning = (len(record["plan"][key]) for key in ("scoring", "tuning"))
    score = tables.main_score(record)
    selected = tables.NAMES[record["selected by"]]
    return [
        f"### {TITLES[name]}",
        "",
        f"Mean ± standard error over {scoring} simulations (median; diverged runs), lower is",
        f"better. Settings chosen by {selected} on {tuning} other seeds, equally many for each",
        f"filter; [all scores](benchmarks/results/{name}.md).",
        "",
        tables.markdown_table(*tables.table(record, score)),
        "",
        tables.markdown_table(*tables.settings_table(record)),
        "",
        f"({origin(record)}; `kdediff reproduce {name}`)",
        "",
    ]


def rules(record):
    """The cost of settings that choose themselves."""
    cases = record["cases"]
    labels = list(next(iter(cases.values())))
    header = ["one analysis, ms (of fixed bandwidths)"]
    header += map(title, cases)
    rows = []
    for label in labels:
        here = [c[label] for c in cases.values()]
        shown = [f"{c['milliseconds']:.2f} ({c['of fixed, flow']:.2f})" for c in here]
        rows.append([label, *shown])
    return [
        "### What a rule costs",
        "",
        tables.markdown_table(header, rows),
        "",
        f"({origin(record)}; `python benchmarks/rules.py`)",
        "",
    ]


def bandwidth_rules(record):
    """The paper's kernel with bandwidths that are not tuned for the problem."""
    cases = record["cases"]
    header = ["energy score", *map(title, cases)]
    rows = []
    for label in next(iter(cases.values())):
        here = [rows_of[label] for rows_of in cases.values()]
        shown = [
            f"{row['mean']:.3g} ± {row['standard error']:.2g}"
            + (f" ({row['pair'][0]:g}, {row['pair'][1]:g})" if "pair" in row else "")
            + (f"; {row['failed']} failed" if row["failed"] else "")
            for row in here
        ]
        rows.append([label, *shown])
    return [
        "### The paper's kernel: tuned, scale-free, by rule",
        "",
        "Mixture draws, 8 scoring seeds. In brackets the pair of bandwidths: tuned for the problem",
        "on other seeds, or one pair for all, in units of the forecast's spread.",
        "",
        tables.markdown_table(header, rows),
        "",
        f"({origin(record)}; `python benchmarks/bandwidth_rules.py`)",
        "",
    ]


def solvers(record):
    """Accuracy beside cost: over all mixtures, and for three with N = 250."""
    default, over_all = record["default"], record["over all mixtures"]
    shown = ("lorenz63-z", "lorenz96-10", "lorenz96-20")
    three = [m for m in record["mixtures"] if m["experiment"] in shown]
    mixtures = [m for m in three if m["N"] == 250]
    heads = ["all: mean, largest", *(f"d = {m['d']}" for m in mixtures)]
    rows = []
    for i, row in enumerate(mixtures[0]["rows"]):
        here = (row["solver"], row["tolerance"]) == (default["solver"], default["tolerance"])
        cells = [m["rows"][i] for m in mixtures]
        rows.append(
            [
                f"**{row['solver']}, {row['tolerance']:g}** (default)"
                if here
                else f"{row['solver']}, {row['tolerance']:g}",
                f"{over_all[i]['mean evaluations']:.0f}, {over_all[i]['largest error']:.2g}",
                *(f"{c['evaluations']}, {c['rms error / sampling floor']:.2g}" for c in cells),
            ]
        )
    steps = "; ".join(
        f"d = {m['d']}, N = {m['N']}: "
        + next(
            str(r["steps"])
            for r in m["rows"]
            if (r["solver"], r["tolerance"]) == (default["solver"], default["tolerance"])
        )
        for m in three
    )
    return [
        "### Solver and tolerance",
        "",
        "Evaluations of the core per analysis, and the error they leave: root mean square over",
        f"members, as a share of the sampling floor of W2, over {len(record['mixtures'])} mixtures",
        "of the experiments and for three with N = 250. The rule for the default: the fewest",
        "evaluations with an error below a tenth of the floor on every mixture.",
        "",
        tables.markdown_table(["solver, tolerance", *heads], rows),
        "",
        f"Steps of the default: {steps}.",
        "",
        f"({origin(record)}; `python benchmarks/solvers.py`)",
        "",
    ]


def low_variance(record):
    """The gain of low-variance draws."""
    cases = record["cases"]
    labels = [k for k in cases[0] if k.startswith(("latents", "mixture"))]
    header = ["draws", *(f"{c['experiment']}, N = {c['N']}" for c in cases)]
    rows = [
        [label, *(f"{c[label]['mean']:.3g} ± {c[label]['standard error']:.2g}" for c in cases)]
        for label in labels
    ]
    return [
        "### Low-variance draws",
        "",
        "Sliced W2 (Lorenz-63) and energy score (Lorenz-96) by kind of latents of the flow and by",
        "component draws of the mixture; 24 seeds, fixed bandwidths.",
        "",
        tables.markdown_table(header, rows),
        "",
        f"({origin(record)}; `python benchmarks/latents.py`)",
        "",
    ]


def sweep_grid(record):
    """The author's Lorenz-63 grid as one sweep."""
    seconds = record["seconds"]
    best = record["chosen by sliced W2"].items()
    chosen = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in best)
    lockstep = record["lockstep cost"]
    header = ["points per batch", *lockstep["grid order"]]
    rows = [[order, *(f"{v:.2f}" for v in by.values())] for order, by in lockstep.items()]
    steps = ", ".join(f"{v:.1f} at {k}" for k, v in record["steps by tau_max"].items())
    return [
        "### A whole grid as one sweep",
        "",
        "Lorenz-63, z measured, N = 250: 7 state x 10 measurement bandwidths x 5 tau_max x 10",
        f"simulations of 100 cycles, {record['points']} runs, {record['analyses']:,} analyses:",
        f"{seconds['run'] / 60:.0f} minutes on two cores, {1e3 * seconds['per analysis']:.1f} ms",
        f"each, and {seconds['compile']:.0f} s to compile; runs with a failed cycle:",
        f"{record['failed points']}. Sliced W2 is best at {chosen}:",
        f"{record['its sliced W2']:.2f}. What lockstep costs, as a factor of the solver iterations",
        "that each run needs by itself:",
        "",
        tables.markdown_table(header, rows),
        "",
        f"Steps per analysis by tau_max: {steps}.",
        "",
        "![Sliced W2 over the two bandwidths](benchmarks/results/sweep_grid.png)",
        "",
        f"({origin(record)}; `python benchmarks/sweep_grid.py`)",
        "",
    ]


SECTIONS = {
    "untuned": untuned,
    "reference_symmetry": reference_symmetry,
    **dict.fromkeys(TITLES, reproduced),
    "rank_histograms": rank_histograms,
    "ablation": ablation,
    "local_ablation": local_ablation,
    "latents": low_variance,
    "bandwidth_rules": bandwidth_rules,
    "rules": rules,
    "solvers": solvers,
    "sweep_grid": sweep_grid,
    "analysis_cost": analysis_cost,
    "kernel_weights": kernel_weights,
    "million": million,
    "gpu_compiled": gpu_compiled,
    "far_tiles": far_tiles,
    "scaling": scaling,
    "cuthbert_filters": cuthbert_filters,
}


def details():
    """Return RESULTS.md: every table. Links are relative to it, sections one level higher."""
    lines = [line for name, make in SECTIONS.items() for line in section(name, make)]
    titles = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    contents = [f"* [{name}](#{anchor(name)})" for name in titles]
    text = "\n".join(["# Measured", "", INTRODUCTION, "", *contents, "", *lines])
    return text.replace("(benchmarks/results/", "(results/").replace("\n### ", "\n## ")


def anchor(heading):
    """Return the fragment that a heading gets."""
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -")
    return kept.replace(" ", "-")


def summary():
    """Return the README's part: the main tables, short."""
    untuned = read("untuned")
    lines = against_classical(untuned) + against_published(untuned)
    lines += paper(untuned, read("reference_symmetry"), [read(name) for name in TITLES])
    lines += kernel_weights(read("kernel_weights"))
    return "\n".join(lines)


def main():
    readme, results = ROOT / "README.md", ROOT / "benchmarks" / "RESULTS.md"
    text = readme.read_text()
    before, rest = text.split(START)
    _, after = rest.split(END)
    wanted = {readme: before + START + summary() + END + after, results: details()}
    for path, new in wanted.items():
        if "--check" not in sys.argv:
            path.write_text(new)
        elif not path.exists() or path.read_text() != new:
            sys.exit(f"{path.name}: out of date, run python benchmarks/readme.py")


if __name__ == "__main__":
    main()
