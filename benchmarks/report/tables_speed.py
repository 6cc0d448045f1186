"""RESULTS.md on speed: whole analyses, rules, solvers, sweeps."""

from __future__ import annotations

from benchmarks.report.origin import made_by, settings_of, title
from benchmarks.report.text import section
from kdediff_jax.experiments import tables

SHOWN = ("lorenz63-z", "lorenz96-10", "lorenz96-20")


def rules(record):
    """The cost of settings that choose themselves."""
    cases = record["cases"]
    rows = []
    for label in next(iter(cases.values())):
        here = [c[label] for c in cases.values()]
        shown = [f"{c['milliseconds']:.2f} ({c['of fixed, flow']:.2f})" for c in here]
        rows.append([label, *shown])
    return section(
        "What a rule costs",
        tables.markdown_table(["one analysis, ms (of fixed bandwidths)", *map(title, cases)], rows),
        made_by(record, "rules"),
    )


def solvers(record):
    """Accuracy beside cost: over all mixtures, and for three with N = 250."""
    three = [m for m in record["mixtures"] if m["experiment"] in SHOWN]
    mixtures = [m for m in three if m["N"] == 250]
    rows = []
    for i, row in enumerate(mixtures[0]["rows"]):
        name = f"{row['solver']}, {row['tolerance']:g}"
        over_all, cells = record["over all mixtures"][i], [m["rows"][i] for m in mixtures]
        rows.append(
            [
                f"**{name}** (default)" if _is_default(record, row) else name,
                f"{over_all['mean evaluations']:.0f}, {over_all['largest error']:.2g}",
                *(f"{c['evaluations']}, {c['rms error / sampling floor']:.2g}" for c in cells),
            ]
        )
    heads = ["solver, tolerance", "all: mean, largest", *(f"d = {m['d']}" for m in mixtures)]
    steps = [next(r["steps"] for r in m["rows"] if _is_default(record, r)) for m in three]
    counts = [f"d = {m['d']}, N = {m['N']}: {n}" for m, n in zip(three, steps, strict=True)]
    return section(
        "Solver and tolerance",
        "Evaluations of the core per analysis, and the error they leave: root mean square over "
        f"members, as a share of the sampling floor of W2, over {len(record['mixtures'])} mixtures "
        "of the experiments and for three with N = 250. The rule for the default: the fewest "
        "evaluations with an error below a tenth of the floor on every mixture.",
        tables.markdown_table(heads, rows),
        f"Steps of the default: {'; '.join(counts)}.",
        made_by(record, "solvers"),
    )


def _is_default(record, row):
    default = record["default"]
    return (row["solver"], row["tolerance"]) == (default["solver"], default["tolerance"])


def sweep_grid(record, on_gpu):
    """The author's Lorenz-63 grid as one sweep."""
    seconds, lockstep = record["seconds"], record["lockstep cost"]
    best = record["chosen by sliced W2"].items()
    chosen = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in best)
    rows = [[order, *(f"{v:.2f}" for v in by.values())] for order, by in lockstep.items()]
    steps = ", ".join(f"{v:.1f} at {k}" for k, v in record["steps by tau_max"].items())
    return section(
        "A whole grid as one sweep",
        "Lorenz-63, z measured, N = 250: 7 state x 10 measurement bandwidths x 5 tau_max x 10 "
        f"simulations of 100 cycles, {record['points']} runs, {record['analyses']:,} analyses: "
        f"{seconds['run'] / 60:.0f} minutes on {record['devices']}, "
        f"{1e3 * seconds['per analysis']:.1f} ms each, and {seconds['compile']:.0f} s to compile; "
        f"runs with a failed cycle: {record['failed points']}. Sliced W2 is best at {chosen}: "
        f"{record['its sliced W2']:.2f}. What lockstep costs, as a factor of the solver iterations "
        "that each run needs by itself:",
        tables.markdown_table(["points per batch", *lockstep["grid order"]], rows),
        f"Steps per analysis by tau_max: {steps}.",
        "![Sliced W2 over the two bandwidths](results/sweep_grid.png)",
        made_by(record, "sweep_grid"),
        f"The same {on_gpu['analyses']:,} analyses on {on_gpu['devices']}, "
        f"{on_gpu['batch size']} runs a batch: {on_gpu['seconds']['run']:.1f} s, "
        f"{1e6 * on_gpu['seconds']['per analysis']:.0f} microseconds each, and "
        f"{on_gpu['seconds']['compile']:.0f} s to compile "
        f"({on_gpu['iterations per analysis']:.1f} solver iterations an analysis; above, with the "
        f"solver of that commit, {record['iterations per analysis']:.1f}); best sliced W2 "
        f"{on_gpu['its sliced W2']:.2f}.",
        made_by(on_gpu, "sweep_grid"),
    )


def analysis_cost(record):
    """The flow against SciPy."""
    rows = []
    for name, row in record["analysis"]["d=3"].items():
        error = row.get("error")
        rows.append(
            [
                name,
                f"{row['steps']} ({row.get('rejected', '–')})",
                f"{error['median']:.1g}, {error['max']:.1g}" if error else "",
                f"{row['milliseconds']:.1f}",
                f"{row['times faster than scipy']:.1f}",
            ]
        )
    by_dimension = record["analysis"].items()
    steps = ", ".join(f"{rows['flow 1e-5']['steps']} at {d}" for d, rows in by_dimension)
    seconds = record["compile"]["kde"]["compile seconds"]
    return section(
        "Speed",
        "**One analysis, N = 250, d = 3**: the reverse flow against "
        "`scipy.integrate.solve_ivp(RK45)` on the same ODE with `cdist` and `softmax`; error is "
        "the distance to the exact end of the curve, in bandwidths.",
        tables.markdown_table(
            ["solve", "steps (rejected)", "median, largest error", "ms", "times faster"], rows
        ),
        f"Steps at tolerance 1e-5: {steps}. A 1000-cycle run compiles in {seconds:.1f} s. Medians "
        "of interleaved runs.",
        made_by(record, "analysis_cost"),
    )


def compile_times(record):
    """Tracing, lowering and compiling each scheme of the tests, and a gradient through it."""
    rows = []
    for name, kinds in record["schemes"].items():
        for kind, checkouts in kinds.items():
            seconds = [f"{c['total']:.1f} ({c['compile']:.1f})" for c in checkouts.values()]
            kernels = [f"{c['kernels']}" for c in checkouts.values()]
            rows.append([name, kind, " → ".join(seconds), " → ".join(kernels)])
    return section(
        "What compiling costs",
        "CPU seconds of the first call, of which XLA's in brackets, on the problem of the protocol "
        "tests, and the kernels that the program has; where there are two numbers, of an earlier "
        "checkout and of this one.",
        tables.markdown_table(["scheme", "", "seconds", "kernels"], rows),
        made_by(record, "compile_times"),
    )


def rival_filters(record):
    """Our classical filters beside cuthbert's and DAPPER's."""
    rows = []
    for name, filters in record["classical"].items():
        rows += [_beside(*name.split(":"), filters, label) for label in ("EnKF", "SIR")]
    settings, notes = settings_of(record), []
    for d, case in record["rings"].items():
        shown = case["filters"]
        both = ("EnKF", "LETKF", "LETKF, DAPPER, two")
        rows += [_beside(f"ring of {d}", settings["members"], shown, label) for label in both]
        reach, model = case["measurements in reach"], "model of DAPPER's runs, milliseconds a cycle"
        notes.append(
            f"on {d} sites {case[model]:.2f} ms a cycle, "
            f"one analysis differs by {case['difference of one analysis']:.1g} of what it changes "
            f"({reach['ours']} measurements in reach, {reach['DAPPER']} in DAPPER's)"
        )
    heads = ["Lorenz-96", "N", "filter", "ours, ms", "theirs, ms", "ratio", "RMSE", "theirs"]
    return section(
        "Filters beside cuthbert's and DAPPER's",
        "Milliseconds of CPU a cycle, on one core; a ratio above 1: ours is faster. The same "
        "model, measurements and initial members, against "
        f"[cuthbert](https://pypi.org/project/cuthbert/) {settings['cuthbert']} (EnKF, SIR), one "
        "compiled program each, and [DAPPER](https://pypi.org/project/dapper/) "
        f"{settings['dapper']} (LETKF), whose analysis is NumPy. On the experiments no inflation "
        "and no jitter (so SIR is lost in either); the rings are those of Sakov and Oke (2008), "
        f"inflation {settings['inflation']['EnKF']} (EnKF) and {settings['inflation']['LETKF']} "
        f"(LETKF), a radius of {settings['radius']:g} sites; without localisation an EnKF of so "
        "few members is lost on the larger one, in either.",
        tables.markdown_table(heads, rows),
        f"The model alone, in DAPPER's runs: {'; '.join(notes)}. Its setting of this model "
        f"analyses two coordinates at a time, ours every one. {record['instructions']}.",
        made_by(record, "rival_filters"),
    )


def _beside(problem, members, filters, label):
    """Return a row of our filter and theirs."""
    kind = label.split(",")[0]
    peer = next(key for key in filters if key.startswith(label) and not key.endswith("ours"))
    both = filters[f"{kind}, ours"], filters[peer]
    mine, their = (row["CPU milliseconds a cycle"] for row in both)
    errors = [row["rmse standard error"] for row in both]
    scores = [
        f"{row['rmse']:.3f}" + ("" if error is None else f" ± {error:.3f}")
        for row, error in zip(both, errors, strict=True)
    ]
    name = f"{kind} ({peer.removeprefix(kind + ', ')})"
    return [
        problem,
        str(members),
        name,
        f"{mine:.3g}",
        f"{their:.3g}",
        f"{their / mine:.2f}",
        *scores,
    ]


def local_options(record):
    """Fewer points of analysis, and correlations in place of distances."""
    points = [
        [
            row["problem"],
            row["filter"],
            row["points"],
            f"{1e6 * row['CPU seconds'] / row['d']:.0f}",
            f"{row['deviation']:.3f}",
            f"{row['rmse']:.4f}",
        ]
        for row in record["points"]
    ]
    runs = [
        [
            row["experiment"],
            str(row["members"]),
            row["localisation"],
            f"{row['rmse']:.3f} ± {row['standard error']:.3f}",
        ]
        for row in record["runs"]
    ]
    heads = ("problem", "filter", "points of analysis", "microseconds of CPU a coordinate")
    settings = settings_of(record)
    return section(
        "Options of a localisation",
        f"One analysis of {settings['members']} members at fewer points. The deviation is that of "
        "members from the analysis of every coordinate, in units of the change that this makes.",
        tables.markdown_table([*heads, "deviation", "RMSE"], points),
        "Whole runs of the LETKF on Lorenz-96 (`none` is the ETKF), nothing tuned, with standard "
        "errors over six seeds:",
        tables.markdown_table(["experiment", "members", "localisation", "RMSE"], runs),
        made_by(record, "local_options"),
    )


def large_states(record):
    """Localised analyses of up to a million coordinates."""
    rows = [
        [
            row["filter"],
            f"{row['d']:,}",
            f"{row['seconds']:.2f}",
            f"{1e6 * row['seconds'] / row['d']:.0f}",
            f"{row['peak MiB']:,.0f}",
            f"{row['first call'] - row['seconds']:.1f}",
            f"{row['list seconds']:.1f}",
        ]
        for row in record["rows"]
    ]
    heads = ("filter", "coordinates", "seconds", "microseconds a coordinate", "MiB of the process")
    settings = settings_of(record)
    return section(
        "Large states",
        f"One localised analysis of {settings['members']} members, every coordinate measured, a "
        f"radius of {settings['radius']:g} sites on a ring: lists of "
        f"{record['rows'][0]['neighbours']} measurements a coordinate.",
        tables.markdown_table([*heads, "compile, s", "lists, s"], rows),
        "![Time and memory against the number of coordinates](results/large_states.png)",
        made_by(record, "large_states"),
    )
