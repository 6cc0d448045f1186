"""RESULTS.md on the pairwise core: CPU, GPU, several devices."""

from __future__ import annotations

from benchmarks.report.origin import made_by, settings_of
from benchmarks.report.text import section
from kdediff_jax.experiments import tables
from kdediff_jax.numerics import linalg

PLANNED = ("tiles, value", "tiles, gradient", "fused, value", "fused, gradient")


def kernel_weights(record):
    """The pairwise core against its peers and the floor."""
    least = record["floor"]["nanoseconds per exponential"]
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
    peak = record.get("peak MiB beyond baseline at N=100000, d=3")  # measured on a CPU only
    memory = (
        ""
        if peak is None
        else (
            f"Memory at N = 100,000, d = 3, compiling included: {peak:.0f} MiB over the process "
            "before. "
        )
    )
    return section(
        "The pairwise core",
        "One evaluation of the softmax-weighted mean of N centres at N points, float32: time per "
        "pair, and how many times that the dense `jax.nn.softmax` expression and PyKeOps take. "
        f"Floor: one exponential ({least:.2f} ns on all cores) and 2d + 1 multiply-adds a pair.",
        tables.markdown_table(
            ["N", "d", "ns per pair", "dense softmax", "PyKeOps", "share of the floor"], rows
        ),
        "![Time per pair against N](results/kernel_weights.png)",
        f"The tile of the rule takes at most {worst:.2f} times as long as the best of a grid of "
        f"tiles. Largest error against float64: {error:.0e} relative. {memory}Temporaries planned "
        f"by XLA at N = 1,000,000: {planned['value']:.0f} MiB, {planned['gradient']:.0f} MiB for "
        "the gradient with respect to everything.",
        made_by(record, "kernel_weights"),
    )


def million(record):
    """The pairwise core at N = 1,000,000."""
    return section(
        "A million members",
        f"One evaluation at N = {record['N']:,}, d = {record['d']}, that is {record['N'] ** 2:.0e} "
        f"pairs, float32: {record['seconds'] / 60:.0f} minutes, {record['ns per pair']:.2f} ns a "
        f"pair; {record['peak MiB beyond before']:.0f} MiB beyond what was held before, compiling "
        f"included. Largest error at {record['queries checked']} of the points against float64: "
        f"{record['relative error of the mean']:.0e} relative.",
        made_by(record, "million"),
    )


def fused_kernel(record):
    """The fused kernel against the tiles, where there was a GPU."""
    rows = [
        [
            f"{row['N']:,}",
            str(row["d"]),
            f"{1e3 * row['fused, ns per pair']:.2f}",
            f"{row['tiled / fused']:.1f} times",
            f"{row['dense / fused']:.1f} times" if "dense / fused" in row else "–",
            f"{row['share of exponentials and multiply-adds']:.0%}",
            f"{max(row['relative errors, mean and log-sum']):.0e}",
        ]
        for row in record["speed"]
    ]
    large = record["large"]
    return section(
        "The fused kernel on a GPU",
        "One evaluation of the softmax-weighted mean of N centres at N points, float32, by "
        '`core="fused"`, and how many times that the tiles and the dense expression take. Floor: '
        "an exponential and 2d + 1 multiply-adds a pair, as XLA compiles them: chains of these do "
        "not fill the device, so that the kernel is beyond it where it has enough to do.",
        tables.markdown_table(
            ["N", "d", "ps per pair", "tiles", "dense softmax", "share of the floor", "error"], rows
        ),
        _rule_of_tiles(record["tiles"])
        + f"At N = {large['N']:,}, d = 3: {large['seconds']:.2f} s, with "
        f"{large['temporaries, MiB']:.0f} MiB of temporaries.",
        _ended_early(record),
        made_by(record, "fused_kernel"),
    )


def _rule_of_tiles(rows):
    """Return how good the rule is; nothing where no grid of tiles was timed."""
    if not rows:
        return ""
    worst = max(row["rule / best"] for row in rows)
    return f"The tile of the rule takes at most {worst:.2f} times as long as the best of a grid. "


def _ended_early(record):
    """Return what a record that was cut off lacks."""
    return f"Cut off: {record['ended early']}." if "ended early" in record else ""


def decompositions(record):
    """Stacks of matrices on a GPU."""
    rows = [
        [
            f"{row['n']} x {row['m']}",
            f"{row['stack']:,}",
            f"{row['library, ms']:.2f}" if "library, ms" in row else "–",
            f"{row['rotations, ms']:.2f}",
            f"{row['library / rotations']:.1f}" if "library, ms" in row else "–",
        ]
        for row in record["rows"]
    ]
    return section(
        "Singular values of stacks on a GPU",
        "Milliseconds for the singular values and vectors of a stack, float32: the GPU's library, "
        "which takes matrices one after the other where they have more than 32 rows or columns, "
        "against rotations of all at once (`numerics.jacobi`), which "
        f"{linalg.FEWEST_ROTATED} or more of them get. A dash: not timed, it would take seconds. "
        "Largest error of a value over the largest: "
        f"{max(row['rotations, error'] for row in record['rows']):.1g}, the library's "
        f"{max(row.get('library, error', 0) for row in record['rows']):.1g}. Eigenvalues are "
        "left to the library, which takes a stack of symmetric matrices at once.",
        tables.markdown_table(["shape", "matrices", "library", "rotations", "times"], rows),
        made_by(record, "decompositions"),
    )


def gpu_runs(record):
    """Whole runs on a GPU and on the cores beside it."""
    rows = [
        [
            row["experiment"],
            row["filter"],
            str(row["N"]),
            *(_of_runs(record[w], row, alone) for w in ("gpu", "cpu") for alone in (True, False)),
            f"{row['seconds to compile']:.0f}",
        ]
        for row in record["gpu"]
        if row["runs"] > 1
    ]
    large = [
        [f"{row['N']:,}", row["core"], f"{1e-3 * row['microseconds per analysis']:.0f}"]
        for row in record["many members"]
    ]
    many, few = (max((r["runs"] for r in record[where]), default=0) for where in ("gpu", "cpu"))
    return section(
        "Whole runs on a GPU",
        f"Microseconds for one analysis and its forecast, float32, one {record['device']} beside "
        f"{record['cores']} CPU cores ({record['instructions']}) of the same machine: a run on its "
        f"own, and one of {many} in one program (CPU: of {few}).",
        tables.markdown_table(
            [
                "experiment",
                "filter",
                "N",
                "GPU, alone",
                "GPU, of many",
                "CPU, alone",
                "CPU, of many",
                "compile on GPU, s",
            ],
            rows,
        ),
        "The paper's filter on lorenz63-z with many members:",
        tables.markdown_table(["N", "core", "ms an analysis"], large),
        *_scores_compared(record),
        _ended_early(record),
        made_by(record, "gpu_runs"),
    )


def _scores_compared(record):
    """Return whether the two devices score the same, where both were run."""
    if not record["compared"]:
        return ()
    rows = [
        [
            *(str(part) for part in row["case"]),
            f"{row['energy score, GPU']:.4g}",
            f"{row['energy score, CPU']:.4g}",
            f"{row['difference']:+.2g} ± {row['its standard error']:.2g}",
            f"{row['each of many runs, CPU / GPU']:.1f}",
        ]
        for row in record["compared"]
    ]
    few = max(row["runs"] for row in record["cpu"])
    head = ["experiment", "filter", "N", "GPU", "CPU", "difference, paired", "CPU / GPU time"]
    return (
        f"Mean energy scores of the same {few} seeds on both, which chaos parts path by path, and "
        "how many times as long one of many runs takes on the CPU cores. "
        f"{_held_up(record['cpu'])}",
        tables.markdown_table(head, rows),
    )


def _held_up(rows):
    """Return which filters are slower among many runs than alone: their ratio says little."""
    alone = {row["filter"]: row for row in rows if row["runs"] == 1}
    time = "microseconds per analysis"
    slower = [
        row["filter"]
        for row in rows
        if row["runs"] > 1 and row[time] > alone.get(row["filter"], row)[time]
    ]
    if not slower:
        return ""
    return (
        f"Slower on those cores among many than alone: {', '.join(slower)}; at that commit every "
        "run of a batch computed also what only bad members need (see CHANGELOG, `rarely`). "
        "Such a ratio says more of the CPU run."
    )


def _of_runs(rows, like, alone):
    """Return microseconds per analysis of a run alone or among many, or a dash."""
    same = ("experiment", "filter", "N")
    found = [r for r in rows if all(r[k] == like[k] for k in same) and (r["runs"] == 1) == alone]
    return f"{found[0]['microseconds per analysis']:,.1f}" if found else "–"


def gpu_compiled(record):
    """What the compiler makes of it for a GPU."""
    settings = settings_of(record)
    planned = [
        [f"{row['N']:,}", str(row["d"]), *(f"{row[name]:.0f}" for name in PLANNED)]
        for row in record["planned MiB"]
    ]
    return section(
        "Compiled for a GPU, not run on one",
        f"XLA compiles for an {settings['device']} on a machine without one. Temporaries planned "
        "for one evaluation of the core, in MiB:",
        tables.markdown_table(["N", "d", *PLANNED], planned),
        "Machine code of the fused kernel: registers of a thread (255 at most), what does not fit "
        "into them, instructions of the inner loop for a pair, and the time that a pair takes if "
        "every multiprocessor issues 128 of them a cycle: a floor, not a measurement.",
        _machine_code(record["kernel"]),
        made_by(record, "gpu_compiled", note=", where it was compiled"),
    )


def _machine_code(kernels):
    """Return the table; what only a disassembler tells is left out where there was none."""
    rows = []
    for row in kernels:
        counted = "instructions per pair" in row
        rows.append(
            [
                str(row["d"]),
                str(row["registers"]),
                str(row["bytes spilled"]),
                f"{row['instructions per pair']:.0f}" if counted else "–",
                f"{row['picoseconds per pair, at least']:.1f}" if counted else "–",
            ]
        )
    header = ["d", "registers", "bytes spilled", "instructions a pair", "ps a pair, at least"]
    return tables.markdown_table(header, rows)


def gpu_programs(record):
    """What whole runs are on a GPU."""
    rows = [
        [
            f"{row['experiment']}, {row['filter']}",
            f"{row['N']:,}",
            str(row["runs"]),
            f"{row['planned MiB']:.0f}",
            str(row["calls to the host"]),
            f"{row['below full precision']} of {row['products']}",
        ]
        for row in record["runs"]
    ]
    header = ["experiment, filter", "N", "runs", "planned MiB", "calls to the host"]
    header += ["products below full precision"]
    return section(
        "Whole runs as programs of a GPU",
        f"{settings_of(record)['cycles']} cycles of a batch of runs, one program, and searched:",
        tables.markdown_table(header, rows),
        made_by(record, "gpu_programs"),
    )


def far_tiles(record):
    """Why no tile is skipped."""
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
    header = ["mixture", "d", "tiles needed, start to end", "at best", "prototype, at the end"]
    return section(
        "Skipping far tiles: measured, not kept",
        "Sorted by a k-d split, tiles whose weight is below rounding could be left out. Over the "
        "whole flow that would gain `at best` if it cost nothing; a prototype's gain at the last "
        "step of the flow, where most can be left out, is in the last column.",
        tables.markdown_table(header, rows),
        made_by(record, "far_tiles"),
    )


def scaling(record):
    """Several devices, several processes, and a large ensemble."""
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
    settings = settings_of(record)
    return section(
        "Several devices and processes",
        f"`lorenz63-z` by `ShardedFlow`, {settings['members']} members, {settings['cycles']} "
        "cycles. One device uses both cores of this machine already: what this shows is that the "
        "numbers stay, not a gain.",
        tables.markdown_table(
            ["members over", "seconds", "largest difference of the mean", "same steps"], rows
        ),
        f"Exchanged in the solver loop of the compiled program: `{inside}`. One analysis by the "
        f"flow at N = 10,000: {large}.",
        made_by(record, "scaling"),
    )
