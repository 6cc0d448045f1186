"""Figures of runs show the numbers that they were given: read back from what is drawn."""

import numpy as np
import pytest
from figures import boxes, texts
from matplotlib.collections import QuadMesh
from matplotlib.legend import Legend
from matplotlib.text import Text

from kdediff_jax import metrics, plots
from kdediff_jax.analysis.outcome import AnalysisInfo
from kdediff_jax.diagnosis import checks, diagnose

rng = np.random.default_rng(0)
T, N, D = 30, 40, 3
TIMES = 0.5 * np.arange(1, T + 1)
TRUTH = np.sin(TIMES[:, None] + np.arange(D))
MEMBERS = TRUTH[:, None] + rng.normal(size=(T, N, D))
MEASURED = np.where(np.arange(D) == 1, TRUTH + 0.3, np.nan)
LABELS = ["temperature[lat=50, lon=10] (K)", "wind (m/s)", "forcing"]


def reports(cycles=T, **changes):
    """Return a healthy run's report, but for the changes."""
    draws = np.random.default_rng(1)
    fields = {
        "ess": np.full(cycles, 30.0),
        "num_steps": np.full(cycles, 12),
        "num_rejected": np.full(cycles, 2),
        "ok": np.ones(cycles, bool),
        "num_masked": np.zeros(cycles, int),
        "num_gross_errors": np.zeros(cycles, int),
        "num_unreached": np.zeros(cycles, int),
        "normalised_innovation": draws.chisquare(3, cycles) / 3,
        "mean": np.zeros((cycles, D)),
    }
    return AnalysisInfo(**{**fields, **changes})


def lines(axis):
    return {line.get_label(): line for line in axis.lines}


def bands(axis):
    """Return the lower and upper edge of every band, from its outline."""
    found = {}
    for band in axis.collections:
        outline = band.get_paths()[0].vertices
        times = sorted(set(outline[:, 0]))
        at = [outline[outline[:, 0] == t, 1] for t in times]
        found[band.get_label()] = (np.array([y.min() for y in at]), np.array([y.max() for y in at]))
    return found


def test_trajectories_show_quantiles_truth_and_measurements():
    figure = plots.trajectories(
        TIMES, MEMBERS, truth=TRUTH, measurements=MEASURED, labels=LABELS, moment=4.0
    )
    assert len(figure.axes) == D
    for k, axis in enumerate(figure.axes):
        assert axis.get_title(loc="left") == LABELS[k]
        drawn = lines(axis)
        np.testing.assert_array_equal(drawn["truth"].get_ydata(), TRUTH[:, k])
        np.testing.assert_array_equal(drawn["measurement"].get_ydata(), MEASURED[:, k])
        np.testing.assert_allclose(drawn["mean"].get_ydata(), MEMBERS[:, :, k].mean(axis=1))
        for q, label in ((5, "5–95 % of the members"), (25, "25–75 % of the members")):
            edges = np.quantile(MEMBERS[:, :, k], [q / 100, 1 - q / 100], axis=1)
            np.testing.assert_allclose(bands(axis)[label], edges)
    assert {"truth", "measurement", "ensemble mean", *bands(figure.axes[0])} <= set(texts(figure))


def test_trajectories_without_members_truth_or_measurements():
    mean, spread = MEMBERS.mean(axis=1), MEMBERS.std(axis=1)
    figure = plots.trajectories(TIMES, mean=mean, spread=spread, quantiles=(0.1586552539,))
    for k, axis in enumerate(figure.axes):  # 16 % and 84 % of a Gaussian: one deviation
        low, high = bands(axis)["± 1.00 spreads"]
        np.testing.assert_allclose(low, mean[:, k] - spread[:, k], rtol=1e-6)
        np.testing.assert_allclose(high, mean[:, k] + spread[:, k], rtol=1e-6)
        assert set(lines(axis)) == {"mean"}
        assert axis.get_title(loc="left") == f"coordinate {k}"
    assert not {"truth", "measurement"} & set(texts(figure))
    assert not bands(plots.trajectories(TIMES, mean=mean).axes[0])


def test_trajectory_and_ensembles_need_no_truth():
    means = {"a": MEMBERS[:, :, 0].mean(axis=1)}
    figure = plots.trajectory(TIMES, None, means, means, means, measurements=MEASURED[:, 1])
    assert "truth" not in texts(figure) and "measurement" in texts(figure)
    assert figure.axes[0].get_ylim()[1] < 3
    for d in (1, 2):
        panels = plots.ensemble_panels({"a": MEMBERS[3][:, :d]}, coordinates=("x", "y"))
        assert "truth" not in texts(panels) and "members" in texts(panels)
    both = plots.overview(TIMES, None, means, means, means, {"a": MEMBERS[3][:, :2]}, title="t")
    assert "truth" not in texts(both)
    with pytest.raises(ValueError, match="ensembles: expected one or two coordinates"):
        plots.ensemble_panels({"a": MEMBERS[3]})


@pytest.mark.parametrize("d", [1, 2])
def test_every_member_is_in_the_panel_or_on_its_border(d):
    """The widest of four filters spans three times the reference; one member is lost far away."""
    reference = rng.normal(size=(500, d))
    clouds = {name: 3 * rng.normal(size=(50, d)) * k for k, name in enumerate("abc", start=1)}
    clouds["c"][0] = 1e5
    figure = plots.ensemble_panels(clouds, [0.0] * d, reference)
    for axis, cloud in zip(figure.axes, clouds.values(), strict=True):
        spans = [axis.get_xlim(), axis.get_ylim()][:d]
        inside = np.all(
            [(lo <= x) & (x <= hi) for x, (lo, hi) in zip(cloud.T, spans, strict=True)], 0
        )
        marks = [c.get_offsets() for c in axis.collections if c.get_label() == "outside"]
        assert inside.sum() + sum(len(m) for m in marks) == 50
        for mark in marks:  # on the border
            assert mark[0][0] == axis.get_xlim()[1]
    assert [t for t in texts(figure) if "outside" in t] == ["1 of 50 outside"]
    assert figure.axes[0].get_xlim()[1] < 60


def test_marginals_show_every_member_of_every_pair():
    reference = rng.normal(size=(300, D))
    figure = plots.marginals(MEMBERS[7], truth=TRUTH[7], reference=reference, labels=LABELS)
    axes = np.array(figure.axes).reshape(D, D)
    for i in range(D):
        heights, edges, _ = next(
            p.get_data() for p in axes[i, i].patches if p.get_label() == "members"
        )
        counts = np.histogram(MEMBERS[7][:, i], bins=edges)[0]
        np.testing.assert_allclose(heights * np.diff(edges) * N, counts)
        assert list(lines(axes[i, i])["truth"].get_xdata()) == [TRUTH[7, i]] * 2
        for j in range(i):
            offsets = {c.get_label(): c.get_offsets() for c in axes[i, j].collections}
            np.testing.assert_array_equal(offsets["members"], MEMBERS[7][:, [j, i]])
        assert not any(axes[i, j].get_visible() for j in range(i + 1, D))
    assert axes[2, 0].get_xlabel() == LABELS[0] and axes[2, 0].get_ylabel() == LABELS[2]


def cells(axis):
    (mesh,) = axis.findobj(QuadMesh)
    return mesh, np.ma.getdata(mesh.get_array())


def panel(figure, name):
    return next(axis for axis in figure.axes if axis.get_title(loc="left") == name)


def test_hovmoeller_shows_fields_in_the_order_of_their_places():
    places = np.array([3.0, 1.0, 2.0])
    mean, spread = MEMBERS.mean(axis=1), MEMBERS.std(axis=1)
    figure = plots.hovmoeller(
        TIMES, places, mean, spread=spread, truth=TRUTH, measured=[2.0], label="temperature (K)"
    )
    order = [1, 2, 0]
    shown = {"truth of temperature (K)": TRUTH, "mean of temperature (K)": mean, "spread": spread}
    for name, values in {**shown, "error of the mean": mean - TRUTH}.items():
        mesh, drawn = cells(panel(figure, name))
        np.testing.assert_array_equal(drawn, values.T[order])
        edges = mesh.get_coordinates()
        np.testing.assert_allclose(edges[0, :, 0], np.arange(T + 1) * 0.5 + 0.25)
        np.testing.assert_allclose(edges[:, 0, 1], [0.5, 1.5, 2.5, 3.5])
        assert list(lines(panel(figure, name))["measured"].get_ydata()) == [2.0]
    limits = [cells(panel(figure, name))[0].get_clim() for name in list(shown)[:2]]
    assert limits[0] == limits[1]
    low, high = cells(panel(figure, "error of the mean"))[0].get_clim()
    assert low == -high


def test_field_map_shows_fields_and_hides_what_is_not_finite():
    mean = rng.normal(size=(4, 5))
    mean[1, 2] = np.nan
    figure = plots.field_map(
        np.arange(5), np.arange(4), mean, x_label="lon", y_label="lat", measured=[(2.0, 3.0)]
    )
    assert len(figure.axes) == 2  # the map and its colours: neither spread nor truth
    mesh, drawn = cells(figure.axes[0])
    np.testing.assert_array_equal(drawn, mean)
    assert np.ma.getmaskarray(mesh.get_array()).sum() == 1
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("lon", "lat")
    np.testing.assert_array_equal(lines(figure.axes[0])["measured"].get_xydata(), [[2.0, 3.0]])
    boxes(plots.field_map([0.0, 1.0], [0.0], [[1.0, 2.0]], measured=np.zeros((0, 2))))
    boxes(plots.hovmoeller(TIMES, [0.0, 1.0, 2.0], TRUTH, measured=[]))
    whole = plots.field_map([0.0], [0.0], [[1.0]], spread=[[0.5]], truth=[[2.0]])
    assert len(whole.axes) == 8
    boxes(plots.field_map([0.0, 1.0], [0.0], [[np.nan, np.nan]], truth=[[np.nan, np.nan]]))


@pytest.mark.parametrize("members", [2, 19, 40])
def test_rank_histogram_counts_the_ranks(members):
    truth = TRUTH.copy()
    truth[4, 1] = np.nan
    cloud = MEMBERS[:, :members]
    figure = plots.rank_histogram({"a": cloud}, truth)
    (axis,) = figure.axes
    drawn = next(p for p in axis.patches if p.get_label() == "counts").get_data()
    counts = np.asarray(metrics.rank_histogram(cloud.astype(np.float32), truth.astype(np.float32)))
    edges = (drawn.edges + 0.5).astype(int)
    assert (edges[0], edges[-1]) == (0, members + 1)
    pooled = np.add.reduceat(counts.sum(axis=0), edges[:-1])
    np.testing.assert_allclose(drawn.values * np.diff(edges), pooled)
    assert pooled.sum() == T * D - 1
    flat = next(p for p in axis.patches if p.get_label() == "flat").get_data()
    np.testing.assert_allclose(flat.values, (T * D - 1) / (members + 1))


def test_spread_error_shows_root_mean_squares_of_bins():
    spread = rng.uniform(0.1, 2.0, size=(200, 3))
    error = spread * rng.normal(size=spread.shape)
    spread[0, 0] = np.nan
    figure = plots.spread_error({"a": spread}, {"a": error}, bins=5)
    order = np.argsort(spread.ravel())[:-1]  # NaN is last
    parts = np.array_split(order, 5)
    dots = lines(figure.axes[0])["bins"]
    for values, drawn in ((spread, dots.get_xdata()), (error, dots.get_ydata())):
        expected = [np.sqrt(np.mean(values.ravel()[part] ** 2)) for part in parts]
        np.testing.assert_allclose(drawn, expected)
    diagonal = lines(figure.axes[0])["spread = error"]
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())


def spans(axis):
    """Return the lower and upper edge of every horizontal healthy range."""
    healthy = [
        p
        for p in axis.patches
        if p.get_facecolor()[:3] == pytest.approx((0.867, 0.937, 0.902), abs=0.01)
    ]
    return [(p.get_y(), p.get_y() + p.get_height()) for p in healthy]


def test_innovations_and_effort_mark_what_diagnose_takes_for_healthy():
    info = reports()
    values = info.normalised_innovation.copy()
    values[5] = np.nan
    figure = plots.innovations(TIMES, {"a": values, "b": np.full(T, np.nan)})
    left, right = figure.axes[:2]
    np.testing.assert_array_equal(lines(left)["innovation"].get_ydata(), values)
    assert spans(left) == [(checks.OVER, checks.UNDER)]
    assert (
        sum(
            bar.get_height()
            for bar in right.patches[:-1]
            if bar.get_label() == "_nolegend_" or bar.get_label().startswith("_")
        )
        >= T - 1
    )
    running = lines(left)["running mean"].get_ydata()
    np.testing.assert_allclose(running[10], np.nanmean(values[8:13]))
    np.testing.assert_allclose(running[0], np.nanmean(values[:3]))
    figure = plots.effort(
        TIMES, {"a": info.ess}, {"a": info.num_steps}, N, rejected={"a": info.num_rejected}
    )
    left, right = figure.axes
    np.testing.assert_array_equal(lines(left)["ESS"].get_ydata(), info.ess)
    assert spans(left) == [(checks.handful(N), N)]
    np.testing.assert_array_equal(lines(right)["steps"].get_ydata(), info.num_steps)
    np.testing.assert_array_equal(lines(right)["taken again"].get_ydata(), info.num_rejected)


def test_diagnostics_say_what_diagnose_says():
    ok = np.ones(T, bool)
    ok[[3, 7]] = False
    sick = reports(
        ess=np.full(T, 2.0), ok=ok, normalised_innovation=np.full(T, 30.0), num_masked=np.arange(T)
    )
    spread, error = MEMBERS.std(axis=1), MEMBERS.mean(axis=1) - TRUTH
    figure = plots.diagnostics(sick, N, spread=spread, error=error, title="a run")
    found = diagnose(sick, N, spread)
    written = " ".join(" ".join(texts(figure)).split())
    assert len(found.kinds) >= 4
    for finding in found.findings:
        assert f"{finding.kind}: {' '.join(finding.what.split())}" in written
        assert f"try: {finding.advice}" in written
    top = figure.axes[0]
    failed = [line.get_xdata()[0] for line in top.lines if line.get_label() == "failed cycle"]
    assert failed == [3, 7]
    drawn = lines(panel(figure, "Spread of the members and error of the mean"))
    np.testing.assert_allclose(drawn["spread"].get_ydata(), np.sqrt((spread**2).mean(axis=1)))
    np.testing.assert_allclose(drawn["error"].get_ydata(), np.sqrt((error**2).mean(axis=1)))
    masked = lines(panel(figure, "Members left out: none"))["members"]
    np.testing.assert_array_equal(masked.get_ydata(), np.arange(T))
    healthy = plots.diagnostics(reports(), N)
    assert any("Healthy" in text for text in texts(healthy))
    assert "not stored in this run" in texts(healthy)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("cycles", [1, 4])
@pytest.mark.parametrize("missing", [False, True])
def test_one_cycle_two_members_and_nothing_finite_can_be_drawn(cycles, missing):
    members = np.full((cycles, 2, 2), np.nan) if missing else MEMBERS[:cycles, :2, :2]
    times, truth = TIMES[:cycles], TRUTH[:cycles, :2]
    info = reports(cycles, mean=np.zeros((cycles, 2)))
    if missing:
        info = info._replace(normalised_innovation=np.full(cycles, np.nan))
    spread = members.std(axis=1)
    drawn = [
        plots.trajectories(times, members, truth=truth),
        plots.trajectories(times, members),
        plots.marginals(members[0], truth=truth[0]),
        plots.marginals(members[0]),
        plots.hovmoeller(times, [0.0, 1.0], members.mean(axis=1), spread=spread, truth=truth),
        plots.rank_histogram({"a": members}, truth),
        plots.spread_error({"a": spread}, {"a": members.mean(axis=1) - truth}),
        plots.innovations(times, {"a": info.normalised_innovation}),
        plots.effort(times, {"a": info.ess}, {"a": info.num_steps}, 2),
        plots.diagnostics(info, 2, spread=spread, error=spread),
    ]
    for figure in drawn:
        assert boxes(figure, Text)


def figures_with_headlines():
    name = "a file of a rather long name indeed, lenkpf, cycle 100, model time 12.5, and more"
    info = reports(ok=np.arange(T) > 2)
    return {
        "trajectories": plots.trajectories(
            TIMES, MEMBERS, truth=TRUTH, measurements=MEASURED, labels=LABELS, title=name
        ),
        "short": plots.trajectories(TIMES, MEMBERS, labels=LABELS, title="run"),
        "panels": plots.ensemble_panels(
            {"a": MEMBERS[0][:, :2]}, TRUTH[0, :2], MEMBERS[1][:, :2], title=name
        ),
        "marginals": plots.marginals(MEMBERS[0], truth=TRUTH[0], labels=LABELS, title=name),
        "rank": plots.rank_histogram({"a": MEMBERS}, TRUTH, label=name),
        "spread": plots.spread_error({"a": TRUTH}, {"a": TRUTH}, label=name),
        "innovations": plots.innovations(TIMES, {"a": info.normalised_innovation}),
        "diagnostics": plots.diagnostics(info, N, title=2 * name),
    }


def test_headlines_and_legends_do_not_overlap():
    for kind, figure in figures_with_headlines().items():
        legends = boxes(figure, Legend)
        headline = figure._suptitle.get_window_extent()
        drawn = figure._suptitle.get_text().rstrip("\n ")
        figure._suptitle.set_text(drawn)
        headline = figure._suptitle.get_window_extent()
        for legend in legends:
            assert not legend.overlaps(headline), kind
            assert legend.x0 >= 0 and legend.x1 <= 1201, kind
            titles = [axis._left_title for axis in figure.axes if axis._left_title.get_text()]
            for title in titles:
                assert not legend.overlaps(title.get_window_extent()), (kind, title.get_text())
        assert headline.x1 <= 1200, kind


GOOD = {"times": TIMES, "ensemble": MEMBERS}
BAD = [
    (lambda: plots.trajectories(TIMES), "ensemble: expected members, or a mean"),
    (lambda: plots.trajectories(TIMES, MEMBERS[:3]), r"ensemble: expected \(30, n, d\)"),
    (lambda: plots.trajectories(TIMES, MEMBERS, truth=TRUTH[:, :2]), r"truth: expected .*30, 3\)"),
    (lambda: plots.trajectories(TIMES, MEMBERS, labels=["a"]), "labels: expected 3"),
    (lambda: plots.trajectories(TIMES, MEMBERS, quantiles=(0.5,)), "quantiles: expected"),
    (lambda: plots.trajectories(TIMES, np.zeros((T, 4, 13))), "at most 12"),
    (lambda: plots.trajectories(TIMES, mean=TRUTH, spread=TRUTH[:2]), "spread: expected"),
    (lambda: plots.marginals(np.zeros((5, 7))), r"members: expected shape \(n, d\) with d up to 6"),
    (lambda: plots.marginals(MEMBERS[0], truth=[1.0]), r"truth: expected shape \(3,\)"),
    (lambda: plots.marginals(MEMBERS[0], reference=[[1.0]]), r"reference: expected shape \(r, 3\)"),
    (lambda: plots.hovmoeller(TIMES, [1.0], TRUTH), r"mean: expected shape \(30, 1\)"),
    (lambda: plots.field_map([1.0], [1.0], TRUTH), r"mean: expected shape \(1, 1\)"),
    (lambda: plots.rank_histogram({"a": MEMBERS}, TRUTH[:2]), r"ensembles\['a'\]: expected"),
    (lambda: plots.rank_histogram({}, TRUTH), "ensembles: expected at least one"),
    (lambda: plots.rank_histogram({"a": MEMBERS}, TRUTH, bars=1), "bars: expected 2 to 41"),
    (lambda: plots.spread_error({"a": TRUTH}, {"b": TRUTH}), "errors: expected the filters"),
    (lambda: plots.spread_error({"a": TRUTH}, {"a": TRUTH[:2]}), r"errors\['a'\]: expected shape"),
    (lambda: plots.innovations(TIMES, {}), "innovation: expected at least one filter"),
    (lambda: plots.innovations(TIMES, {"a": TIMES[:2]}), r"innovation\['a'\]: expected shape"),
    (lambda: plots.diagnostics(reports(ok=np.ones((2, T), bool)), N), "report of one run"),
    (lambda: plots.diagnostics(reports(), N, spread=TIMES), r"spread: expected shape \(30, 3\)"),
    (lambda: plots.diagnostics(reports(), N, times=TIMES[:4]), r"info.ess: expected shape \(4,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
