"""RESULTS.md on how good the filters are beyond the untuned one's standing."""

from __future__ import annotations

import numpy as np

from benchmarks.index import ABLATION
from benchmarks.report.origin import made_by, settings_of, title
from benchmarks.report.text import anchor, section
from benchmarks.shared.comparison import UNTUNED
from kdediff_jax.experiments import tables

HEAD = "What decided which parts were kept"
HELD_OUT = (
    *("anderson2010rhf", "dalearning-l63", "wiljes2017", "lorenz84", "lotka-volterra", "growth"),
)


def rank_histograms(record):
    """Whether the truth looks like one more member."""
    rows, flat = [], 0
    for system, by in record["systems"].items():
        for label, row in by.items():
            flat += label in UNTUNED and row["p"] > record["level"]
            shown = [str(row["lag"]), str(row["ranks per coordinate"]), f"{row['p']:.2g}"]
            rows.append([title(system), label, *shown, f"{row['tails']:.2f}"])
    return section(
        "Rank histograms",
        "20 runs, thinned until ranks are uncorrelated; p of the chi-square test, the worst "
        f"coordinate's times their number. At p > {record['level']:g} the untuned filter is flat "
        f"on {flat} of {len(record['systems'])} problems. Tails: share of ranks in the outer "
        "tenths, over what it should be (above 1 too narrow, below 1 too wide). The EnKF has the "
        "same rule of inflation.",
        tables.markdown_table(
            ["problem", "filter", "every k-th cycle", "ranks", "p", "tails"], rows
        ),
        made_by(record, "rank_histograms"),
    )


def ablation(record, again, doubt, undoubted, lost, chance):
    """What each part of the untuned filter is worth; cells of the same variants share a table."""
    return section(
        ABLATION,
        "One setting at a time switched off or moved; energy score, and in brackets the difference "
        "from the filter as it is, paired by seed, in standard errors, above 0 where the filter as "
        "it is is better. Failed: runs with a cycle that overflowed; lost: those no better than "
        "their members without any measurement. Where there is a localisation, the filter is the "
        "localised one.",
        *_variant_tables(record),
        f"By hand: {'; '.join(record['by hand'])}.",
        "The localised filter's doubt of the spread, inflation and rotation win by more than three "
        "standard errors on dalearning-l96, which it was not made on (N = 40), inflation and "
        "rotation on spantini2019 too. Counting the noise of the weights wins by 1.2 and 1.7 there "
        "and loses by 3.3 on lorenz96-40; half of it is worse than all of it on both. Since gains "
        "are without chance, the Kalman gain alone is better on sakov2008, bao2024 and "
        "lorenz96-40, by 2.2 to 3.8, and worse by 3.6 and 2.4 on spantini2019 and "
        "dalearning-l96. Another setting is better in places: no inflation on lorenz96-40, a "
        "spread never doubted on sakov2008, a smaller Kalman share on dalearning-ks.",
        "Parts of the global filter that win little one at a time, on other seeds, some together. "
        "Masses of modes win nowhere and lose where the state grows and shrinks in two mirrored "
        "modes; they stay because they prevent lost runs.",
        *_variant_tables(again),
        "Is the spread worth doubting? Not where one to three components are measured (above). "
        "Where there are many it is: the global filter, on two problems that it was not made on, "
        "without their localisation, and on two that it was.",
        *_variant_tables(doubt),
        "Parts replace each other: where the spread is never doubted the others are worth more. "
        f"{_pooled(undoubted['cells'])}.",
        *_variant_tables(undoubted),
        "Widening the neighbourhoods where the localised filter is lost, and bounding increments: "
        "what it was made for is under "
        f"[lost neighbourhoods](#{anchor('Lost neighbourhoods')}), these are other problems.",
        *_variant_tables(lost),
        "Chance in the gains of few members: the correction was found on dalearning-l96, "
        "dalearning-ks, bocquet2019, sakov2008 and spantini2019 with 10 to 20 members and other "
        "seeds. Measured in energy score, so that the spread counts too.",
        *_variant_tables(chance),
    )


def ablation_head(record, factorial):
    """What decided which parts were kept, on problems that the filter was not made on."""
    effects = factorial["effects"]
    names = list(effects["all"])
    rows = [
        ["all of them" if cell == "all" else title(cell), *(_effect(of[name]) for name in names)]
        for cell, of in effects.items()
    ]
    return section(
        HEAD,
        "The filters of commit 06b60af, each part switched off by itself, on problems that no "
        "constant was chosen on (and three that some were); as in "
        f"[the next section](#{anchor(ABLATION)}), which has the filter of today.",
        *_variant_tables(record),
        "Parts that are worth little one at a time can replace each other. So four of the global "
        f"filter were switched on and off together, {factorial['designs']} combinations of them, "
        "16 seeds: per cent of the energy score that switching one on costs, the mean over the "
        "others' states, in brackets in standard errors. The two in the middle stayed for this; "
        "the first stayed for its pooled gain of 3 per cent in the tables above; the last went.",
        tables.markdown_table(["switched on", *names], rows),
        made_by(factorial, "ablation"),
    )


def _pooled(cells):
    """Return what switching off costs, pooled over experiments that no constant was chosen on."""
    cells = [body["variants"] for cell, body in cells.items() if cell.split(":")[0] in HELD_OUT]
    shown = []
    for label in list(cells[0])[1:]:
        gaps = np.array([rows[label]["difference"] / rows["default"]["mean"] for rows in cells])
        errors = gaps / [rows[label]["in se"] for rows in cells]
        error = np.linalg.norm(errors) / len(cells)
        shown.append(f"{label} {100 * gaps.mean():+.1f} per cent ({gaps.mean() / error:+.1f})")
    return (
        f"Over the problems that the filter was not made on ({len(cells)} of the columns), "
        f"switching off costs there: {'; '.join(shown)}"
    )


def _effect(found):
    return f"{found['percent']:+.1f} ({found['in se']:+.1f})"


def _variant_tables(record):
    """Return a table for each set of variants, and where they come from."""
    groups = {}
    for cell, body in record["cells"].items():
        groups.setdefault(tuple(body["variants"]), {})[cell] = body["variants"]
    for labels, cells in groups.items():
        lines = [
            [label, *(_difference(label, c[label]) for c in cells.values())] for label in labels
        ]
        yield tables.markdown_table(["energy score", *map(title, cells)], lines)
    yield made_by(record, "ablation")


def _difference(label, row):
    bad = [f"{row[k]} {k}" for k in ("failed", "lost") if row.get(k)]
    mean = "nan" if row["mean"] is None else f"{row['mean']:.3g}"
    gap = row["in se"]
    shown = "" if label == "default" or gap is None else f" ({gap:+.1f})"
    return "; ".join([f"{mean}{shown}", *bad])


def state_noise(record):
    """Simulated measurements alone, where noise depends on the state."""
    cases, run = record["cases"], dict(record["volatility"])
    settings = settings_of(record)
    labels = [k for k, v in cases[0].items() if isinstance(v, dict)]
    rows = [
        [
            case["problem"] + ("" if case["seen"] else " (held out)"),
            "pairs" if case["pairs"] else "simulator",
            *(_distance(case[label], case[labels[0]]) for label in labels),
        ]
        for case in cases
    ]
    spread = run.pop("spread of the reference")
    days = [
        [label, f"{row['correlation']:.3f}", f"{row['rmse']:.3f}", str(row["not ok"])]
        for label, row in run.items()
    ]
    return section(
        "Noise that depends on the state",
        f"Cramér distance between an analysis of {settings['members']} members and the exact "
        f"posterior, mean over {settings['trials']} measurements, in thousandths; in brackets the "
        "difference to the untuned filter in standard errors. One covariance: the untuned filter "
        'without its estimate of the density. "Held out": not at hand when that was made.',
        tables.markdown_table(["problem", "from", *labels], rows),
        f"A stochastic volatility of {settings['days']} days: the filters' means beside that of a "
        f"bootstrap filter of 50,000 members that knows the density (its spread is {spread:.2f}).",
        tables.markdown_table(["filter", "correlation", "RMSE", "failed cycles"], days),
        made_by(record, "state_noise"),
    )


def quantised(record):
    """Ranges in steps: simulated alone, or with their density."""
    settings = settings_of(record)
    scores = ("energy score", "position error", "coverage")
    rows = [
        [
            row["filter"] + (f", {row['setting']:g}" if "setting" in row else ""),
            *(f"{row[score][0]:.3f} ± {row[score][1]:.3f}" for score in scores),
            f"{row['difference'][0]:+.3f} ± {row['difference'][1]:.3f}",
        ]
        for row in record["filters"]
    ]
    return section(
        "A target seen by coarse sensors",
        f"`quantised-tracking` with {settings['members']} members: ranges from three sensors in "
        "steps of 1 km, cut off at 10 km. Mean ± standard error over "
        f"{len(settings['seeds'])} simulations; the difference of the energy score to the first "
        "line is paired by simulation. EnKPF and the paper's filter have nothing tuned; a number "
        "behind a rival is the inflation or jitter that is best of five on other simulations. "
        '"Simulator": can only be sampled; "density": the exact probability of a reading; '
        '"range": the exact range with the variance of noise and rounding, of all readings or '
        f"without the saturated ones. The reference is a SIR of {settings['particles']} members "
        "with the density. Coverage is that of 90 % intervals, mean over the five coordinates.",
        tables.markdown_table(["filter", *scores, "difference"], rows),
        made_by(record, "quantised"),
    )


def _distance(row, first):
    mean, error = row["mean"], row["error of the difference"]
    gap = f" ({(mean - first['mean']) / error:+.1f})" if error > 0 else ""
    return f"{1000 * mean:.3g}{gap}"


def parameters(record):
    """Parameters found beside the state."""
    rows = []
    for name, problem in record["problems"].items():
        for label, by_walk in problem["filters"].items():
            for walk, row in by_walk.items():
                held = f"{100 * row['coverage']:.0f} % ({row['last inside']} of {row['runs']})"
                rows.append(
                    [
                        f"{name}, N = {problem['members']}",
                        label,
                        "constant" if float(walk) == 0 else f"walks {walk} an interval",
                        f"{row['bias']:+.2g} ± {row['its standard error']:.1g}",
                        f"{row['rmse']:.2g}",
                        f"{row['spread']:.2g}",
                        held,
                        f"{row['rmse of the state']:.3g}",
                    ]
                )
    starts = "; ".join(
        f"{name} {problem['guess']:g} ± {problem['std']:g} at first, {problem['truth']:g} in truth"
        for name, problem in record["problems"].items()
    )
    return section(
        "State and parameters together",
        f"A parameter behind the state, two standard deviations off at the start ({starts}); 20 "
        "runs, second half. Bias, RMSE and spread are the parameter's; coverage is that of the "
        "members' 90 % interval, over cycles and runs, and in brackets the runs whose interval "
        "holds the truth at the end. Constant: no artificial evolution. The localised filters "
        "update the parameter, which has no place, by every measurement.",
        tables.markdown_table(
            [
                *("problem", "filter", "parameter", "bias", "RMSE", "spread", "coverage"),
                "RMSE of the state",
            ],
            rows,
        ),
        made_by(record, "parameters"),
    )


def local_published(record):
    """Untuned localised filters beside the tuned ones of others."""
    rows = [
        [
            f"`{row['experiment']}`, N = {row['members']}",
            row["filter"],
            f"{np.mean(row['rmse']):.3g} ({min(row['rmse']):.3g} to {max(row['rmse']):.3g})",
            ", ".join(f"{v:.3g} {k.split(',')[0]}" for k, v in row["published"].items()),
            f"{1e3 * row['CPU seconds a cycle']:.2g}",
        ]
        for row in record["rows"]
    ]
    cycles = ", ".join(
        f"{row['cycles']} of `{row['experiment']}`"
        for row in {row["experiment"]: row for row in record["rows"]}.values()
    )
    return section(
        "Fields of others, untuned",
        "RMSE of the analysis mean over three runs (the least and the largest), after the burn-in "
        f"of the experiment, of the first cycles: {cycles}. Neither filter is tuned; the published "
        "ones are. The radius is that of the experiment, by its stated rule, the same for every N.",
        tables.markdown_table(
            ["experiment", "filter", "RMSE", "published, tuned", "ms of CPU a cycle"], rows
        ),
        made_by(record, "local_published"),
    )


def latents(record):
    """The gain of low-variance draws."""
    cases = record["cases"]
    labels = [k for k in cases[0] if k.startswith(("latents", "mixture"))]
    rows = [
        [label, *(f"{c[label]['mean']:.3g} ± {c[label]['standard error']:.2g}" for c in cases)]
        for label in labels
    ]
    return section(
        "Low-variance draws",
        "Sliced W2 (Lorenz-63) and energy score (Lorenz-96) by kind of latents of the flow and by "
        "component draws of the mixture; 24 seeds, fixed bandwidths.",
        tables.markdown_table(
            ["draws", *(f"{c['experiment']}, N = {c['N']}" for c in cases)], rows
        ),
        made_by(record, "latents"),
    )


def bandwidth_rules(record):
    """The paper's kernel with bandwidths that are not tuned for the problem."""
    cases = record["cases"]
    rows = [
        [label, *(_with_pair(case[label]) for case in cases.values())]
        for label in next(iter(cases.values()))
    ]
    return section(
        "The paper's kernel: tuned, scale-free, by rule",
        "Mixture draws, 8 scoring seeds. In brackets the pair of bandwidths: tuned for the problem "
        "on other seeds, or one pair for all, in units of the forecast's spread.",
        tables.markdown_table(["energy score", *map(title, cases)], rows),
        made_by(record, "bandwidth_rules"),
    )


def _with_pair(row):
    pair = f" ({row['pair'][0]:g}, {row['pair'][1]:g})" if "pair" in row else ""
    failed = f"; {row['failed']} failed" if row["failed"] else ""
    return f"{row['mean']:.3g} ± {row['standard error']:.2g}{pair}{failed}"
