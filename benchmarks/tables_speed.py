"""RESULTS.md on speed: its tables."""

from __future__ import annotations

import json

from origin import origin

from kdediff_jax.experiments import tables

PLANNED = ("tiles, value", "tiles, gradient", "fused, value", "fused, gradient")


def analysis_cost(record):
    rows = record["analysis"]["d=3"]
    lines = [
        "### Speed",
        "",
        "**One analysis, N = 250, d = 3**: the reverse flow against",
        "`scipy.integrate.solve_ivp(RK45)` on the same ODE with `cdist` and `softmax`; error is",
        "the distance to the exact end of the curve, in bandwidths.",
        "",
        "| solve | steps (rejected) | median, largest error | ms | times faster |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        error = row.get("error")
        shown = f"{error['median']:.1g}, {error['max']:.1g}" if error else ""
        lines.append(
            f"| {name} | {row['steps']} ({row.get('rejected', '–')}) | {shown} "
            f"| {row['milliseconds']:.1f} | {row['times faster than scipy']:.1f} |"
        )
    steps = ", ".join(
        f"{rows['flow 1e-5']['steps']} at {d}" for d, rows in record["analysis"].items()
    )
    seconds = record["compile"]["kde"]["compile seconds"]
    return [
        *lines,
        "",
        f"Steps at tolerance 1e-5: {steps}. A 1000-cycle run compiles in {seconds:.1f} s.",
        "",
        f"({origin(record)}; a shared 2-core machine, medians of interleaved runs)",
        "",
    ]


def kernel_weights(record):
    """The pairwise core against its peers and the floor."""
    least = record["floor"]["nanoseconds per exponential"]
    header = ["N", "d", "ns per pair", "dense softmax", "PyKeOps", "share of the floor"]
    rows = [
        [
            str(row["N"]),
            str(row["d"]),
            f"{row['tiled, ns per pair']:.2f}",
            f"{row['dense / tiled']:.1f} times",
            f"{row['pykeops / tiled']:.1f} times" if "pykeops / tiled" in row else "–",
            f"{row['share of exponentials and multiply-adds']:.0%}",
        ]
        for row in record["speed"]
    ]
    worst = max(row["rule / best"] for row in record["tiles"])
    error = max(row["relative error"] for row in record["accuracy"])
    planned = record["planned MiB"]["N=1000000"]
    peak = record["peak MiB beyond baseline at N=100000, d=3"]
    return [
        "### The pairwise core",
        "",
        "One evaluation of the softmax-weighted mean of N centres at N points, float32, CPU: time",
        "per pair, and how many times that the dense `jax.nn.softmax` expression and PyKeOps take.",
        f"Floor: one exponential ({least:.2f} ns on both cores) and 2d + 1 multiply-adds a pair.",
        "",
        tables.markdown_table(header, rows),
        "",
        "![Time per pair against N](benchmarks/results/kernel_weights.png)",
        "",
        f"The tile of the rule takes at most {worst:.2f} times as long as the best of a grid of",
        f"tiles. Largest error against float64: {error:.0e} relative. Memory at N = 100,000,",
        f"d = 3, compiling included: {peak:.0f} MiB over the process before. Temporaries planned",
        f"by XLA at N = 1,000,000: {planned['value']:.0f} MiB, {planned['gradient']:.0f} MiB for",
        "the gradient with respect to everything.",
        "",
        f"({origin(record)}; `python benchmarks/kernel_weights.py`)",
        "",
    ]


def million(record):
    """The pairwise core at N = 1,000,000."""
    return [
        "### A million members",
        "",
        f"One evaluation at N = {record['N']:,}, d = {record['d']}, that is {record['N'] ** 2:.0e}",
        f"pairs, float32: {record['seconds'] / 60:.0f} minutes, {record['ns per pair']:.2f} ns a",
        f"pair; {record['peak MiB beyond before']:.0f} MiB beyond what was held before, compiling",
        f"included. Largest error at {record['queries checked']} of the points against float64:",
        f"{record['relative error of the mean']:.0e} relative.",
        "",
        f"({origin(record)}; `python benchmarks/million.py`)",
        "",
    ]


def gpu_compiled(record):
    """What the compiler makes of it for a GPU."""
    planned = [
        [f"{row['N']:,}", str(row["d"]), *(f"{row[name]:.0f}" for name in PLANNED)]
        for row in record["planned MiB"]
    ]
    kernel = [
        [
            str(row["d"]),
            str(row["registers"]),
            str(row["bytes spilled"]),
            f"{row['instructions per pair']:.0f}",
            f"{row['picoseconds per pair, at least']:.1f}",
        ]
        for row in record["kernel"]
    ]
    runs = [
        [
            f"{row['experiment']}, {row['filter']}",
            f"{row['N']:,}",
            str(row["runs"]),
            f"{row['seconds to compile']:.0f}",
            f"{row['planned MiB']:.1f}",
            str(row["calls to the host"]),
            f"{row['below full precision']} of {row['products']}",
        ]
        for row in record["runs"]
    ]
    settings = json.loads(record["provenance"]["settings"])
    return [
        "### Compiled for a GPU, not run on one",
        "",
        f"XLA compiles for an {settings['device']} on a machine without one. Temporaries",
        "planned for one evaluation of the core, in MiB:",
        "",
        tables.markdown_table(["N", "d", *PLANNED], planned),
        "",
        "Machine code of the fused kernel: registers of a thread (255 at most), what does not fit",
        "into them, instructions of the inner loop for a pair, and the time that a pair takes if",
        "every multiprocessor issues 128 of them a cycle: a floor, not a measurement.",
        "",
        tables.markdown_table(
            ["d", "registers", "bytes spilled", "instructions a pair", "ps a pair, at least"],
            kernel,
        ),
        "",
        f"Whole filtering runs, {settings['cycles']} cycles, as one program:",
        "",
        tables.markdown_table(
            [
                *("experiment, filter", "N", "runs", "s to compile", "planned MiB"),
                *("calls to the host", "products below full precision"),
            ],
            runs,
        ),
        "",
        f"(compiled on {origin(record)}; `python benchmarks/gpu_compiled.py`)",
        "",
    ]


def scaling(record):
    """Several devices, several processes, and a large ensemble."""
    header = ["members over", "seconds", "largest difference of the mean", "same steps"]
    rows = [
        [
            name,
            f"{row['seconds']:.2f}",
            f"{max(row['largest difference of mean by cycle']):.1g}",
            "yes" if row["same steps"] else "no",
        ]
        for name, row in record["runs"].items()
    ]
    inside = ", ".join(record["runs"]["two devices"]["collectives in the solver loop"])
    large = "; ".join(
        f"d = {row['d']}: {row['seconds']:.1f} s, {row['evaluations']} evaluations, "
        f"{row['peak MiB of the process']:.0f} MiB in all"
        for row in record["one analysis"]
    )
    settings = json.loads(record["provenance"]["settings"])
    return [
        "### Several devices and processes",
        "",
        f"`lorenz63-z` by `ShardedFlow`, {settings['members']} members,",
        f"{settings['cycles']} cycles. One device uses both cores of this machine already: what",
        "this shows is that the numbers stay, not a gain.",
        "",
        tables.markdown_table(header, rows),
        "",
        f"Exchanged in the solver loop of the compiled program: `{inside}`. One analysis by the",
        f"flow at N = 10,000: {large}.",
        "",
        f"({origin(record)}; `python benchmarks/scaling.py`)",
        "",
    ]


def cuthbert_filters(record):
    """Our classical filters beside cuthbert's."""
    header = ["Lorenz-96", "N", "filter", "ours, ms", "cuthbert, ms", "ratio", "RMSE", "cuthbert's"]
    pairs = {
        "EnKF": ("EnKF, ours", "EnKF, cuthbert"),
        "SIR": ("SIR, ours", "particle filter, cuthbert"),
    }
    rows = []
    for name, case in record["cases"].items():
        experiment, members = name.split(":")
        for label, keys in pairs.items():
            ours, theirs = (case["filters"][key] for key in keys)
            rows.append(
                [
                    experiment,
                    members,
                    label,
                    *(f"{row['milliseconds']:.0f}" for row in (ours, theirs)),
                    f"{case['cuthbert / ours'][label]:.2f}",
                    *(f"{r['rmse']:.3f} ± {r['rmse standard error']:.3f}" for r in (ours, theirs)),
                ]
            )
    settings = json.loads(record["provenance"]["settings"])
    return [
        "### Classical filters beside cuthbert",
        "",
        f"{settings['cycles']} cycles of the same model and measurements as one compiled program",
        f"each, against [cuthbert](https://pypi.org/project/cuthbert/) {settings['cuthbert']}; no",
        "inflation, no jitter (so SIR is lost in either). A ratio above 1: ours is faster.",
        "",
        tables.markdown_table(header, rows),
        "",
        f"({origin(record)}; `python benchmarks/cuthbert_filters.py`)",
        "",
    ]


def far_tiles(record):
    """Why no tile is skipped."""
    header = ["mixture", "d", "tiles needed, start to end", "at best", "prototype, at the end"]
    rows = []
    for name, case in record["cases"].items():
        shares = case["needed"]
        last = list(case["prototype"].values())[-1]["core / skipping"]
        rows.append(
            [
                name.replace(":", ", N = "),
                str(case["d"]),
                ", ".join(f"{shares[i]:.0%}" for i in (0, len(shares) // 2, -1)),
                f"{case['at best']:.2f} times",
                f"{last:.2f} times",
            ]
        )
    return [
        "### Skipping far tiles: measured, not kept",
        "",
        "Sorted by a k-d split, tiles whose weight is below rounding could be left out. Over the",
        "whole flow that would gain `at best` if it cost nothing; a prototype's gain at the last",
        "step of the flow, where most can be left out, is in the last column.",
        "",
        tables.markdown_table(header, rows),
        "",
        f"({origin(record)}; `python benchmarks/far_tiles.py`)",
        "",
    ]
