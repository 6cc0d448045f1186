"""Figures of files: the numbers are the file's, the labels those of its coordinates and fields."""

import json

import numpy as np
import pytest
from figures import texts
from matplotlib.collections import QuadMesh

import kdediff_jax as kd
from kdediff_jax import plots, results
from kdediff_jax.analysis.outcome import AnalysisInfo
from kdediff_jax.cli.options import KINDS
from kdediff_jax.sweeping import SweepResult, best_point

rng = np.random.default_rng(0)
T, N = 6, 10
TRUTH = rng.normal(size=(T, 3))
MEMBERS = TRUTH[:, None] + rng.normal(size=(2, T, N, 3))
YS = TRUTH[:, [2]] + 0.1
RUN = ("filter", "cycle")


def run_file(*without, **attrs):
    """Return the data set of a run like those of the command line, without some variables."""
    ok = np.ones((2, T), np.int8)
    variables = {
        "truth": (("cycle", "coordinate"), TRUTH, {}),
        "measurement": (("cycle", "component"), YS, {}),
        "measured_coordinate": (("component",), np.array([2]), {}),
        "analysis": ((*RUN, "member", "coordinate"), MEMBERS, {}),
        "mean": ((*RUN, "coordinate"), MEMBERS.mean(axis=2), {}),
        "score_w2": (("filter",), np.array([1.5, 2.5]), {}),
        "spread": (RUN, np.ones((2, T)), {}),  # the score of that name, not of coordinates
        **{name: (RUN, rng.integers(1, 9, (2, T)), {}) for name in AnalysisInfo._fields[:-1]},
        "normalised_innovation": (RUN, rng.random((2, T)), {}),
        "ok": (RUN, ok, {}),
    }
    coords = {
        "filter": (("filter",), np.array(["enkf", "sir"], dtype=object), {}),
        "cycle": (("cycle",), np.arange(1, T + 1), {}),
        "time": (("cycle",), 0.5 * np.arange(1, T + 1), {}),
        "coordinate": (("coordinate",), np.array(["x", "y", "z"], dtype=object), {}),
    }
    kept = {name: value for name, value in variables.items() if name not in without}
    return results.dataset(kept, attrs, coords)


SPACE = kd.StateSpace(
    {
        "temperature": kd.Field({"lat": [50.0, 60.0], "lon": [0.0, 10.0, 20.0]}, units="K"),
        "wind": kd.Field({"height": [1.0, 5.0, 2.0, 9.0]}, units="m/s"),
        "forcing": kd.Field(units="W m-2"),
    }
)
STATES = rng.normal(size=(T, N, SPACE.size))
FIELD_TRUTH = rng.normal(size=(T, SPACE.size))


def field_file(**arrays):
    if not arrays:
        arrays = {"mean": STATES.mean(axis=1), "spread": STATES.std(axis=1), "truth": FIELD_TRUTH}
    return results.field_dataset(SPACE, arrays, times=2.0 * np.arange(T))


def line(axis, name):
    return next(each for each in axis.lines if each.get_label() == name).get_ydata()


def test_kinds_are_those_that_a_file_has_what_it_takes_for():
    everything = tuple(kind for kind in plots.KINDS if kind not in ("map", "heat-map"))
    assert plots.kinds(run_file()) == everything
    assert plots.kinds(run_file("truth")) == tuple(
        kind for kind in everything if kind not in ("rank", "spread")
    )
    assert plots.kinds(run_file("analysis")) == ("trajectory", "innovation")
    assert "effort" in plots.kinds(run_file("analysis", settings=json.dumps({"members": N})))
    assert plots.kinds(field_file()) == ("trajectory", "map", "spread")
    assert tuple(plots.KINDS) == KINDS


def test_a_variable_of_every_filter():
    figure = plots.draw(run_file(), "trajectory", variable="z", cycle=2)
    for k, axis in enumerate(figure.axes):
        np.testing.assert_allclose(line(axis, "mean"), MEMBERS[k, :, :, 2].mean(axis=1))
        np.testing.assert_array_equal(line(axis, "truth"), TRUTH[:, 2])
        np.testing.assert_array_equal(line(axis, "measurement"), YS[:, 0])
        low, high = np.quantile(MEMBERS[k, :, :, 2], [0.05, 0.95], axis=1)
        outline = axis.collections[0].get_paths()[0].vertices
        for i, t in enumerate(0.5 * np.arange(1, T + 1)):
            at = outline[outline[:, 0] == t, 1]
            assert (at.min(), at.max()) == pytest.approx((low[i], high[i]))
        assert [1.0, 1.0] in [list(each.get_xdata()) for each in axis.lines]  # of cycle 2
    assert {"z", "enkf  ·  W2 1.5", "sir  ·  W2 2.5"} <= set(texts(figure))
    unmeasured = plots.draw(run_file(), "trajectory", variable="x")
    assert "measurement" not in texts(unmeasured)


def test_several_variables_of_one_filter():
    figure = plots.draw(run_file("truth"), "trajectory", variable=["z", "0"], filter="sir")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["z", "x"]
    for axis, k in zip(figure.axes, (2, 0), strict=True):
        np.testing.assert_allclose(line(axis, "mean"), MEMBERS[1, :, :, k].mean(axis=1))
    assert "truth" not in texts(figure) and "measurement" in texts(figure)


@pytest.mark.parametrize(("cycle", "index"), [(None, 5), (3, 2), (-2, 4)])
def test_the_members_of_a_cycle(cycle, index):
    figure = plots.draw(run_file(), "ensemble", cycle=cycle, variable=["z", "y"])
    for k, axis in enumerate(figure.axes):
        offsets = {c.get_label(): c.get_offsets() for c in axis.collections}
        np.testing.assert_array_equal(offsets["members"], MEMBERS[k, index][:, [2, 1]])
        np.testing.assert_array_equal(offsets["truth"], [TRUTH[index, [2, 1]]])
    assert any(f"cycle {index + 1}, model time {0.5 * (index + 1):g}" in t for t in texts(figure))
    corner = plots.draw(run_file(), "marginals", cycle=cycle, filter="sir")
    assert {"x", "y", "z"} <= set(texts(corner))


def test_rank_and_spread_are_of_the_variables_asked_for():
    figure = plots.draw(run_file(), "rank", variable="y")
    drawn = next(p for p in figure.axes[1].patches if p.get_label() == "counts").get_data()
    ranks = (MEMBERS[1, :, :, 1] < TRUTH[:, None, 1]).sum(axis=1)
    expected = np.histogram(ranks, bins=drawn.edges)[0]
    np.testing.assert_allclose(drawn.values * np.diff(drawn.edges), expected)
    figure = plots.draw(run_file(), "spread", variable="y", filter="enkf")
    assert "Spread against error, y" in texts(figure) and len(figure.axes) == 1


def test_reports_are_those_of_the_file():
    data = run_file()
    figure = plots.draw(data, "innovation")
    for k, axis in enumerate(figure.axes[::2]):
        drawn = line(axis, "innovation")
        np.testing.assert_array_equal(drawn, data["normalised_innovation"].values[k])
    figure = plots.draw(data, "effort", filter="sir")
    np.testing.assert_array_equal(line(figure.axes[1], "steps"), data["num_steps"].values[1])
    page = plots.draw(data, "diagnostics", filter="sir")
    info = AnalysisInfo(
        *(data[name].values[1] for name in AnalysisInfo._fields[:-1]), MEMBERS[1].mean(axis=1)
    )
    found = kd.diagnosis.diagnose(info, N, MEMBERS[1].std(axis=1, ddof=1))
    assert f"Found: {', '.join(found.kinds)}" in texts(page)


def test_without_members_the_band_is_that_of_the_spread():
    mean, spread = MEMBERS.mean(axis=2), MEMBERS.std(axis=2)
    data = run_file("analysis").assign(spread=((*RUN, "coordinate"), spread))
    figure = plots.draw(data, "trajectory")
    outline = figure.axes[0].collections[0].get_paths()[0].vertices
    assert outline[:, 1].max() == pytest.approx((mean + 1.6449 * spread)[0, :, 0].max())
    assert "± 1.64 spreads" in texts(figure)


def test_fields_have_their_names_units_and_coordinates():
    data = field_file()
    means = STATES.mean(axis=1)
    flat = plots.draw(data, "map", variable="wind")
    assert "mean of wind[height] (m/s)" in texts(flat) and "height" in texts(flat)
    mesh = flat.axes[1].findobj(QuadMesh)[0]
    order = np.argsort([1.0, 5.0, 2.0, 9.0])
    np.testing.assert_array_equal(mesh.get_array(), means[:, 6:10].T[order])
    at = plots.draw(data, "map", variable="temperature", cycle=2)
    assert {"lat", "lon", "mean of temperature[lat, lon] (K)"} <= set(texts(at))
    shown = [axis.findobj(QuadMesh)[0].get_array() for axis in at.axes[:4]]
    error = means - FIELD_TRUTH
    for values, drawn in zip((FIELD_TRUTH, means, STATES.std(axis=1), error), shown, strict=True):
        np.testing.assert_array_equal(drawn, values[1, :6].reshape(2, 3))
    names = ["temperature[lat=60, lon=10] (K)", "forcing"]
    lines = plots.draw(data, "trajectory", variable=names)
    assert [axis.get_title(loc="left") for axis in lines.axes] == [SPACE.label(4), SPACE.label(10)]
    np.testing.assert_allclose(line(lines.axes[0], "mean"), means[:, 4])
    np.testing.assert_allclose(line(lines.axes[1], "mean"), means[:, 10])
    short = plots.draw(data, "trajectory", variable="temperature[lat=60, lon=10]")
    assert [axis.get_title(loc="left") for axis in short.axes] == [SPACE.label(4)]


def test_fields_of_members_and_of_one_moment():
    data = field_file(ensemble=STATES, truth=FIELD_TRUTH)
    assert {"ensemble", "rank", "trajectory", "map"} <= set(plots.kinds(data))
    panels = plots.draw(data, "ensemble", variable=["forcing", "wind[height=9]"])
    np.testing.assert_array_equal(
        panels.axes[0].collections[0].get_offsets(), STATES[-1][:, [10, 9]]
    )
    assert (panels.axes[0].get_xlabel(), panels.axes[0].get_ylabel()) == (
        "forcing (W m-2)", "wind[height=9] (m/s)",
    )  # fmt: skip
    once = results.field_dataset(SPACE, {"mean": FIELD_TRUTH[0]})
    at = plots.draw(once, "map", variable="temperature")
    drawn = at.axes[0].findobj(QuadMesh)[0].get_array()
    np.testing.assert_array_equal(drawn, FIELD_TRUTH[0, :6].reshape(2, 3))


def labelled(cycles, batch=(), **variables):
    """Return a data set laid out as `FilterResult.to_xarray` does, from 0 and without filters."""
    lead = (*("run",) * len(batch), "cycle")
    found = {name: (dims, values, {}) for name, (dims, values) in variables.items()}
    found |= {n: (lead, np.ones((*batch, cycles)), {}) for n in AnalysisInfo._fields[:-1]}
    return results.dataset(found, {}, {"cycle": (("cycle",), np.arange(cycles), {})})


def test_a_single_run_with_the_members_of_its_last_cycle():
    means, spreads = MEMBERS[0].mean(axis=1), MEMBERS[0].std(axis=1)
    data = labelled(
        T,
        mean=(("cycle", "coordinate"), means),
        spread=(("cycle", "coordinate"), spreads),
        ensemble=(("member", "coordinate"), MEMBERS[0, -1]),
        measurement=(("cycle", "component"), YS),
    )
    everything = ("trajectory", "ensemble", "marginals", "innovation", "effort", "diagnostics")
    assert plots.kinds(data) == everything
    panels = plots.draw(data, "ensemble", cycle=T - 1)
    np.testing.assert_array_equal(
        panels.axes[0].collections[0].get_offsets(), MEMBERS[0, -1][:, :2]
    )
    with pytest.raises(ValueError, match="cycle: expected 5, the last"):
        plots.draw(data, "marginals", cycle=0)
    lines = plots.draw(data, "trajectory")
    assert [axis.get_title(loc="left") for axis in lines.axes] == [
        f"coordinate {k}" for k in range(3)
    ]


def test_a_run_of_fields_with_measurements_and_the_last_members():
    dims = {"a": ("lat", "lon"), "b": ()}
    values = {"a": rng.normal(size=(T, N, 2, 3)), "b": rng.normal(size=(T, N))}
    made = {"measurement": (("cycle", "component"), YS), "score": (("cycle",), np.ones(T))}
    for name, own in dims.items():
        made[f"{name}_mean"] = (("cycle", *own), values[name].mean(axis=1))
        made[f"{name}_ensemble"] = (("member", *own), values[name][-1])
    data = labelled(T, **made)
    figure = plots.draw(data, "map", variable="a", cycle=3)
    drawn = figure.axes[0].findobj(QuadMesh)[0].get_array()
    np.testing.assert_array_equal(drawn, values["a"][3].mean(axis=0))
    panels = plots.draw(data, "ensemble", variable=["a[lat=1, lon=0]", "b"])
    last = np.stack([values["a"][-1][:, 1, 0], values["b"][-1]], axis=1)
    np.testing.assert_array_equal(panels.axes[0].collections[0].get_offsets(), last)
    with pytest.raises(ValueError, match="known: a, b, a\\[lat=0"):
        plots.draw(data, "trajectory", variable="score")


def test_the_runs_of_a_batch_are_drawn_as_filters_are():
    dims = ("run", "cycle", "member", "coordinate")
    figure = plots.draw(labelled(T, (2,), analysis=(dims, MEMBERS)), "trajectory")
    names = [axis.get_title(loc="left") for axis in figure.axes]
    assert names == ["run 0", "run 1"]
    np.testing.assert_allclose(line(figure.axes[1], "mean"), MEMBERS[1, :, :, 0].mean(axis=1))


def test_large_states_without_names_are_drawn_as_a_field():
    states = rng.normal(size=(1, T, 12))
    dims = ("filter", "cycle", "coordinate")
    data = results.dataset({"mean": (dims, states, {})}, {})
    figure = plots.draw(data, "map")
    np.testing.assert_array_equal(figure.axes[0].findobj(QuadMesh)[0].get_array(), states[0].T)
    assert plots.kinds(data) == ("trajectory", "map")


AXES = {
    "inflation": np.array([1.0, 1.1, 1.2]),
    "radius": np.array([2.0, 4.0]),
    "seed": np.arange(3),
}
SCORES = rng.random((3, 2, 3))
SCORES[0, 1, 2] = np.nan


def sweep_file(**attrs):
    return results.sweep_dataset(AXES, {"rmse": SCORES, "ess": 2 * SCORES}, attrs)


def test_a_sweep_is_the_mean_over_its_seeds():
    swept = SweepResult(AXES, {"rmse": SCORES}, 0.0, 0.0, 1, 1)
    chosen, means = best_point(swept, "rmse")
    attrs = {"selected_by": "mean rmse over seeds", "selected": json.dumps(chosen)}
    for data in (sweep_file(), sweep_file(**attrs)):
        assert plots.kinds(data) == ("heat-map",)
        figure = plots.draw(data, "heat-map")
        cells = figure.axes[0].findobj(QuadMesh)[0].get_array()
        np.testing.assert_array_equal(np.ma.filled(cells, np.nan), means.T)
        frames = [p for p in figure.axes[0].patches if not p.get_fill() and p.get_zorder() == 4]
        i, j = np.unravel_index(np.nanargmin(means), means.shape)
        assert {p.get_xy() for p in frames} == {(i - 0.5, j - 0.5)}
        assert "mean rmse over 3 seeds" in texts(figure)
    other = plots.draw(sweep_file(**attrs), "heat-map", variable="ess")
    assert "mean ess over 3 seeds" in texts(other)
    for names, shape in ((["inflation", "seed"], (3, 3)), (["inflation"], (3, 1))):
        grid = {name: AXES[name] for name in names}
        values = SCORES[:, 0] if "seed" in names else SCORES[:, 0, 0]
        one = plots.sweep_map(grid, values).axes[0].findobj(QuadMesh)[0].get_array()
        np.testing.assert_array_equal(one, values.reshape(shape).T)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.draw(run_file(), "pie"), "kind: expected one of trajectory"),
        (lambda: plots.draw(run_file(), "heat-map"), "kind: the file holds a run"),
        (lambda: plots.draw(sweep_file(), "rank"), "kind: the file holds a sweep"),
        (lambda: plots.draw(run_file(), "ensemble", cycle=7), "cycle: expected 1 to 6, .* got 7"),
        (lambda: plots.draw(run_file(), "ensemble", cycle=0), "cycle: expected 1 to 6, .* got 0"),
        (lambda: plots.draw(run_file(), "ensemble", cycle=-7), "cycle: expected 1 to 6"),
        (lambda: plots.draw(run_file(), "rank", variable="w"), "variable: .*'w'; known: x, y, z"),
        (lambda: plots.draw(run_file(), "rank", variable="3"), "variable: .* below 3, got '3'"),
        (lambda: plots.draw(run_file(), "rank", filter="kde"), "filter: expected one of enkf, sir"),
        (lambda: plots.draw(run_file("truth"), "rank"), "kind: rank needs a truth"),
        (lambda: plots.draw(run_file("analysis"), "ensemble"), "kind: ensemble needs members"),
        (lambda: plots.draw(run_file(), "trajectory", variable=["x", "y"]), "filter: expected one"),
        (lambda: plots.draw(run_file(), "ensemble", variable=["x", "y", "z"]), "variable: .*got 3"),
        (lambda: plots.draw(field_file(), "map", variable="forcing"), "one or two dimensions"),
        (lambda: plots.draw(sweep_file(), "heat-map", variable="crps"), "variable: .*rmse, ess"),
        (lambda: plots.draw(sweep_file(), "heat-map", variable=["ess", "rmse"]), "expected one sc"),
        (lambda: plots.sweep_map({"seed": [1]}, [1.0]), "axes: expected one besides the seed"),
        (lambda: plots.sweep_map({"a": [1.0]}, [1.0, 2.0]), "values: expected one a point"),
        (
            lambda: plots.draw(results.dataset({}, {}, {"cycle": (("cycle",), [1], {})}), "rank"),
            "Run: expected means, ensembles or reports",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_files_that_are_no_results_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such result file"):
        plots.draw(tmp_path / "none.nc", "rank")
    path = results.write(run_file(), tmp_path / "run.nc")
    assert plots.draw(path, "trajectory").axes
    (tmp_path / "half.nc").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="damaged"):
        plots.kinds(tmp_path / "half.nc")
    run_file().drop_attrs().to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="not one written by kdediff_jax"):
        plots.draw(tmp_path / "foreign.nc", "rank")
    with pytest.raises(ValueError, match="source: expected a result's data set"):
        plots.draw(run_file().drop_attrs(), "rank")
