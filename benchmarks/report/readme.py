"""Make the documents of the committed records: RESULTS.md, README's table, the benchmarks' list.

python benchmarks/report/readme.py            rewrites them
python benchmarks/report/readme.py --check    fails if one is out of date
"""

from __future__ import annotations

import sys

from benchmarks.index import BENCHMARKS, ROOT
from benchmarks.report import tables_accuracy, tables_core, tables_local, tables_speed
from benchmarks.report.tables_paper import TITLES, paper, reference_symmetry, reproduced
from benchmarks.report.tables_readme import measured
from benchmarks.report.tables_untuned import against_published, untuned
from benchmarks.report.text import anchor, paragraph
from benchmarks.shared.records import RESULTS, read
from kdediff_jax.experiments.tables import markdown_table

# a section is made of one record or of several; it is left out where its first is not there
SECTIONS = (
    (untuned, "untuned"),
    (against_published, "untuned"),
    (paper, "untuned", "reference_symmetry", tuple(TITLES)),
    (reference_symmetry, "reference_symmetry"),
    *((reproduced, name) for name in TITLES),
    (tables_accuracy.rank_histograms, "rank_histograms"),
    (tables_accuracy.ablation_head, "ablation_head", "ablation_factorial"),
    (
        tables_accuracy.ablation,
        *("ablation", "ablation_again", "ablation_doubt", "ablation_undoubted"),
        *("ablation_lost", "ablation_chance"),
    ),
    (tables_local.lost_neighbourhoods, "lost_neighbourhoods"),
    (tables_local.million_filtered, "million_filtered"),
    (tables_accuracy.state_noise, "state_noise"),
    (tables_accuracy.quantised, "quantised"),
    (tables_accuracy.parameters, "parameters"),
    (tables_accuracy.local_published, "local_published"),
    (tables_accuracy.latents, "latents"),
    (tables_accuracy.bandwidth_rules, "bandwidth_rules"),
    (tables_speed.rules, "rules"),
    (tables_speed.solvers, "solvers"),
    (tables_speed.sweep_grid, "sweep_grid", "sweep_grid_gpu"),
    (tables_speed.analysis_cost, "analysis_cost"),
    (tables_core.kernel_weights, "kernel_weights"),
    (tables_core.million, "million"),
    (tables_core.fused_kernel, "fused_kernel"),
    (tables_core.gpu_runs, "gpu_runs"),
    (tables_core.decompositions, "decompositions"),
    (tables_core.gpu_programs, "gpu_programs"),
    (tables_core.gpu_compiled, "gpu_compiled"),
    (tables_core.far_tiles, "far_tiles"),
    (tables_speed.large_states, "large_states"),
    (tables_speed.local_options, "local_options"),
    (tables_core.scaling, "scaling"),
    (tables_speed.rival_filters, "rival_filters"),
    (tables_speed.compile_times, "compile_times"),
)
INTRODUCTION = (
    "Made from the JSON files in [results](results) by `python benchmarks/report/readme.py`; the "
    "command beside each table makes its file again, and [README.md](README.md) lists them all. "
    '"Diverged" is a run with a failed cycle, or one that does no better than its members would '
    "without any measurement. Which seeds, which settings, chosen how: the rules are at the top of "
    "[reproduction.py](../kdediff_jax/experiments/reproduction.py) and of each script."
)


def there(name):
    """Return whether a record is committed."""
    return (RESULTS / f"{name}.json").exists()


def section(make, first, *others):
    """Return a section's text, none if its first record is not there."""
    if not there(first):
        return ""
    records = [
        [read(n) for n in name] if isinstance(name, tuple) else read(name)
        for name in others
        if isinstance(name, tuple) or there(name)
    ]
    return make(read(first), *records)


def details():
    """Return RESULTS.md: every table."""
    sections = [text for text in (section(*entry) for entry in SECTIONS) if text]
    headings = [text.splitlines()[0].removeprefix("## ") for text in sections]
    contents = "\n".join(f"* [{name}](#{anchor(name)})" for name in headings)
    return "\n\n".join(["# Measured", paragraph(INTRODUCTION), contents, "\n".join(sections)])


def benchmarks():
    """Return the table of the benchmarks."""
    rows = [
        [
            f"`{b.name}`",
            b.question,
            b.takes,
            f"`{b.command}`",
            ", ".join(f"`{name}`" for name in b.writes),
            b.section,
        ]
        for b in BENCHMARKS
    ]
    header = ["name", "question", "takes", "command", "writes into results/", "read in RESULTS.md"]
    return markdown_table(header, rows) + "\n"


def between(path, name, text):
    """Return a document with the part between two markers replaced."""
    start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
    before, rest = path.read_text().split(start)
    _, after = rest.split(end)
    return before + start + text + end + after


def documents():
    """Return what each document should be."""
    readme, own = ROOT / "README.md", ROOT / "benchmarks" / "README.md"
    return {
        readme: between(readme, "measured", measured(read("untuned"))),
        own: between(own, "benchmarks", benchmarks()),
        ROOT / "benchmarks" / "RESULTS.md": details(),
    }


def main():
    for path, text in documents().items():
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path}: out of date, run python benchmarks/report/readme.py")


if __name__ == "__main__":
    main()
