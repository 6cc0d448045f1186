"""Figures hold what they were given: artists, labels and data, not pixels."""

import os
import subprocess
import sys

import numpy as np
import pytest
from figures import boxes, texts

from kdediff_jax import plots

pytest.importorskip("matplotlib")

FILTERS = ("KDE diffusion", "EnKF", "SIR")
TIMES = np.arange(20) * 0.5
TRUTH = np.sin(TIMES)


def bands():
    means = {label: TRUTH + 0.1 * k for k, label in enumerate(FILTERS)}
    lower = {label: mean - 1 - k for k, (label, mean) in enumerate(means.items())}
    upper = {label: mean + 1 + k for k, (label, mean) in enumerate(means.items())}
    return means, lower, upper


def ensembles(d, n=40):
    rng = np.random.default_rng(0)
    return {label: rng.normal(size=(n, d)) + k for k, label in enumerate(FILTERS)}


def reference(d):
    rng = np.random.default_rng(1)
    return rng.normal(size=(500, d)) + 6 * np.sign(rng.normal(size=(500, 1)))


def test_trajectory_shows_truth_mean_and_band_of_every_filter():
    means, lower, upper = bands()
    figure = plots.trajectory(
        TIMES,
        TRUTH,
        means,
        lower,
        upper,
        coordinate="z (m)",
        time_label="days",
        notes={"EnKF": "RMSE 0.3"},
        moment=4.0,
    )
    assert [axis.get_title(loc="left").split("  ")[0] for axis in figure.axes] == list(FILTERS)
    assert {"z (m)", "days", "truth", "ensemble mean", "EnKF  ·  RMSE 0.3"} <= set(texts(figure))
    colours = plots.palette(FILTERS)
    for axis, label in zip(figure.axes, FILTERS, strict=True):
        lines = {line.get_label(): line for line in axis.lines}
        np.testing.assert_array_equal(lines["truth"].get_xydata(), np.c_[TIMES, TRUTH])
        np.testing.assert_array_equal(lines["mean"].get_ydata(), means[label])
        assert lines["mean"].get_color() == colours[label]
        (band,) = axis.collections
        vertices = band.get_paths()[0].vertices
        for edge in (lower[label], upper[label]):
            assert {(t, v) for t, v in zip(TIMES, edge, strict=True)} <= set(map(tuple, vertices))
        assert [4.0, 4.0] in [list(line.get_xdata()) for line in axis.lines]
    assert figure.get_size_inches()[0] * figure.dpi == 1200


@pytest.mark.parametrize("flat", [True, False])
def test_one_coordinate_gives_densities_over_the_reference(flat):
    members, sample = ensembles(1), reference(1)
    if flat:
        members, sample = {label: x[:, 0] for label, x in members.items()}, sample[:, 0]
    figure = plots.ensemble_panels(members, 0.5 if flat else [0.5], sample, coordinates=("x",))
    assert len(figure.axes) == 3 and len({axis.get_xlim() for axis in figure.axes}) == 1
    for axis in figure.axes:
        stairs = {patch.get_label(): patch.get_data() for patch in axis.patches}
        assert set(stairs) == {"members", "reference posterior"}
        for values, edges, _ in stairs.values():
            assert values @ np.diff(edges) == pytest.approx(1, abs=0.05)
        (truth,) = (line for line in axis.lines if line.get_label() == "truth")
        assert list(truth.get_xdata()) == [0.5, 0.5]
    assert figure.axes[0].get_xlabel() == "x" and figure.axes[0].get_ylabel() == "density"


def test_two_coordinates_give_clouds_over_the_reference():
    members = ensembles(2)
    figure = plots.ensemble_panels(members, [0.5, -1.0], reference(2), coordinates=("x", "y"))
    for axis, cloud in zip(figure.axes, members.values(), strict=True):
        offsets = {c.get_label(): c.get_offsets() for c in axis.collections}
        np.testing.assert_array_equal(offsets["members"], cloud)
        np.testing.assert_array_equal(offsets["truth"], [[0.5, -1.0]])
        assert any(type(c).__name__ == "QuadContourSet" for c in axis.collections)
    assert "reference posterior" in texts(figure)
    assert figure.axes[0].get_xlabel() == "x" and figure.axes[0].get_ylabel() == "y"
    without = plots.ensemble_panels(members, [0.5, -1.0])
    assert "reference posterior" not in texts(without)


def test_reference_regions_keep_the_two_peaks_apart():
    figure = plots.ensemble_panels(ensembles(2), [6.0, 6.0], reference(2))
    (contours,) = (c for c in figure.axes[0].collections if type(c).__name__ == "QuadContourSet")
    for path in contours.get_paths():
        drawn = path.vertices
        assert len(drawn) and np.abs(drawn).max() < 11
        assert not (np.abs(drawn.sum(axis=1)) < 4).any()  # nothing between (-6, -6) and (6, 6)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.filterwarnings("error")
def test_stray_and_missing_members_are_counted_and_do_not_set_the_axes(d):
    members = ensembles(d)
    members["SIR"][:3] = [[1e6] * d, [np.nan] * d, [-np.inf] * d]
    figure = plots.ensemble_panels(members, [0.5] * d, reference(d))
    assert np.abs(figure.axes[0].get_xlim()).max() < 30
    assert [t for t in texts(figure) if "outside" in t] == ["1 of 40 outside\n2 of 40 not finite"]
    boxes(figure)  # draws
    members["SIR"][:] = np.nan
    boxes(plots.ensemble_panels(members, [0.5] * d))


@pytest.mark.parametrize("d", [1, 2])
def test_overview_holds_both_with_title_and_scores(d):
    figure = plots.overview(
        TIMES,
        TRUTH,
        *bands(),
        ensembles(d),
        [0.5] * d,
        title="The run",
        reference=reference(d),
        scores={"SIR": 3.0, "EnKF": 2.0, "KDE diffusion": 1.2345},
        score_name="W2",
        moment=4.0,
    )
    assert len(figure.axes) == 6
    assert {"The run", "KDE diffusion  ·  W2 1.23", "SIR  ·  W2 3"} <= set(texts(figure))
    assert "Analysis ensembles at model time 4" in texts(figure)


@pytest.mark.parametrize("names", [FILTERS, ("A filter of a rather long name", *"BCDE")])
def test_texts_do_not_overlap(names):
    from matplotlib.legend import Legend

    rng = np.random.default_rng(0)
    means = {label: TRUTH for label in names}
    figure = plots.overview(
        TIMES,
        TRUTH,
        means,
        {label: TRUTH - 1 for label in names},
        {label: TRUTH + 1 for label in names},
        {label: rng.normal(size=(30, 2)) for label in names},
        [0.0, 0.0],
        title="A title",
        scores={label: 1.0 for label in names},
    )
    legends = boxes(figure, Legend)
    titles = []
    for axis in figure.axes:
        title = axis.title if axis.title.get_text() else axis._left_title
        titles.append(title.get_window_extent())
    everything = legends + titles
    for k, one in enumerate(everything):
        assert one.x0 >= 0 and one.x1 <= 1200
        assert not any(one.overlaps(other) for other in everything[k + 1 :])


def test_colours_belong_to_filters_and_differ():
    assert plots.palette(["SIR", "EnKF"])["EnKF"] == plots.palette(["EnKF", "SIR"])["EnKF"]
    many = plots.palette(["KDE diffusion", "KDE, exact mixture", "EnKF", "ETKF", "SIR", "x", "y"])
    assert len(set(many.values())) == 7


def test_save_is_whole_or_not_at_all(tmp_path, monkeypatch):
    figure = plots.trajectory(TIMES, TRUTH, *bands())
    path = plots.save(figure, tmp_path / "sub" / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG") and os.listdir(path.parent) == ["figure.png"]
    with pytest.raises(FileExistsError, match=r"figure\.png.*--force"):
        plots.save(figure, path)
    plots.save(figure, path, force=True)
    with pytest.raises(ValueError, match=r"\.png"):
        plots.save(figure, tmp_path / "figure.pdf")

    def half(target, **_):
        target.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        plots.save(figure, path, force=True)
    assert os.listdir(path.parent) == ["figure.png"]
    assert path.read_bytes().startswith(b"\x89PNG")


def test_pyplot_is_never_imported(tmp_path):
    code = (
        "import sys\n"
        "from kdediff_jax import plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "figure = plots.ensemble_panels({'a': [[1.0, 2.0], [0.0, 1.0]]}, [0.0, 1.0])\n"
        f"plots.save(figure, {str(tmp_path / 'x.png')!r})\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_style_is_left_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.trajectory(TIMES, TRUTH, *bands())
    assert dict(matplotlib.rcParams) == before


def test_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"kdediff_jax\[plot\]"):
        plots.trajectory(TIMES, TRUTH, *bands())


MEANS, LOWER, UPPER = bands()
BAD = [
    (lambda: plots.trajectory(TIMES[None], TRUTH, MEANS, LOWER, UPPER), r"times: .*\(1, 20\)"),
    (lambda: plots.trajectory(TIMES, TRUTH[:3], MEANS, LOWER, UPPER), r"truth: .*\(3,\)"),
    (lambda: plots.trajectory(TIMES, TRUTH, {}, {}, {}), "means: .*at least one"),
    (lambda: plots.trajectory(TIMES, TRUTH, MEANS, {"EnKF": TRUTH}, UPPER), "lower: .*filters"),
    (
        lambda: plots.trajectory(TIMES, TRUTH, {**MEANS, "SIR": TRUTH[:2]}, LOWER, UPPER),
        r"means\['SIR'\]: .*\(2,\)",
    ),
    (lambda: plots.ensemble_panels(ensembles(2), [0.0, 0.0, 0.0]), "truth: .*one or two"),
    (lambda: plots.ensemble_panels(ensembles(2), [0.0]), r"KDE diffusion.*\(members, 1\)"),
    (lambda: plots.ensemble_panels(ensembles(2), [0.0] * 2, reference(1)), "reference: "),
    (lambda: plots.ensemble_panels({}, [0.0]), "ensembles: .*at least one"),
    (
        lambda: plots.ensemble_panels(ensembles(2), [0.0] * 2, coordinates=("x",)),
        "coordinates: .*2 labels",
    ),
    (
        lambda: plots.overview(
            TIMES, TRUTH, MEANS, LOWER, UPPER, {"SIR": [1.0]}, 0.0, title="a title"
        ),
        "ensembles: .*filters",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
