"""The heat map holds what it was given: cells, numbers, failures and the chosen pair."""

import numpy as np
import pytest
from figures import boxes, texts

from kdediff_jax import plots
from kdediff_jax.plots.heatmap import colour_limits

pytest.importorskip("matplotlib")

X = np.float32([0.05, 0.1, 0.3, 1.0])
Y = [0.5, 2.0, 8.0]
SCORES = np.arange(12.0).reshape(4, 3) + 5


def mesh(figure):
    from matplotlib.collections import QuadMesh

    return figure.axes[0].findobj(QuadMesh)[0]


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def hatched(figure):
    return sorted(p.get_xy() for p in figure.axes[0].patches if p.get_hatch())


def test_shows_cells_numbers_ticks_and_labels():
    figure = plots.heat_map(
        X, Y, SCORES, names=("state", "measurement"), label="energy score", title="lorenz63-z"
    )
    axis = figure.axes[0]
    np.testing.assert_array_equal(mesh(figure).get_array(), SCORES.T)
    assert [t.get_text() for t in axis.get_xticklabels()] == ["0.05", "0.1", "0.3", "1"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["0.5", "2", "8"]
    assert {"state", "measurement", "energy score", "lorenz63-z", "5", "16"} <= set(texts(figure))
    written = {t.get_position(): t.get_text() for t in axis.texts}
    assert written[(1, 2)] == "10"  # x has the index 1, y the index 2
    assert (len(written), legend(figure), hatched(figure)) == (12, [], [])
    assert figure.get_size_inches()[0] * figure.dpi == 1200


def test_failed_cells_are_hatched_and_explained():
    scores = SCORES.copy()
    scores[0, 0], scores[3, 1] = np.nan, np.inf
    figure = plots.heat_map(X, Y, scores)
    assert hatched(figure) == [(-0.5, -0.5), (2.5, 0.5)]
    assert legend(figure) == ["failed"]
    assert len(figure.axes[0].texts) == 10
    nothing = plots.heat_map(X, Y, np.full((4, 3), np.nan))
    assert (len(hatched(nothing)), len(nothing.axes)) == (12, 1)


def test_chosen_pair_is_outlined():
    figure = plots.heat_map(X, Y, SCORES, chosen=(0.3, 8))
    frames = [p for p in figure.axes[0].patches if not p.get_fill()]
    assert [p.get_xy() for p in frames] == [(1.5, 1.5)] * 2
    assert legend(figure) == ["chosen"]


def test_a_heavy_tail_goes_to_the_arrow_of_the_colour_bar():
    rng = np.random.default_rng(0)
    scores = 5 + rng.random((10, 10))
    assert colour_limits(scores) == (scores.min(), scores.max())
    scores[4:] = 10 ** rng.uniform(2, 8, (6, 10))  # most runs diverged
    scores[0, 0] = -1e6
    low, high = colour_limits(scores)
    assert low == scores[:4].ravel()[1:].min()
    assert high == scores[:4].max()
    figure = plots.heat_map(np.arange(10), np.arange(10), scores)
    assert mesh(figure).colorbar.extend == "both"
    assert mesh(figure).get_clim() == (low, high)
    assert mesh(plots.heat_map(X, Y, SCORES)).colorbar.extend == "neither"
    assert colour_limits(np.array([8.51, 8.57, 8.71, 9.88, 11.9, 12.1])) == (8.51, 9.88)
    assert colour_limits(np.full(4, 2.0)) == (2, 2)


def test_many_cells_have_no_numbers_and_few_labels():
    x = np.geomspace(0.01, 3, 45)
    figure = plots.heat_map(x, np.arange(40), np.zeros((45, 40)) + x[:, None])
    assert not figure.axes[0].texts
    assert len(figure.axes[0].get_xticks()) <= 16


def test_numbers_and_labels_do_not_overlap(tmp_path):
    from matplotlib.text import Text

    scores = np.full((20, 6), 12345.678)
    figure = plots.heat_map(np.arange(20) / 7, np.arange(6), scores, chosen=(1, 2))
    extents = [e for e in boxes(figure, Text) if e.width]
    for i, one in enumerate(extents):
        for other in extents[i + 1 :]:
            assert not one.overlaps(other) or one.bounds == other.bounds
    assert plots.save(figure, tmp_path / "map.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": SCORES.T}, r"values: expected shape \(4, 3\) as x and y, got \(3, 4\)"),
        ({"x": 1.0}, "x: expected a list of values"),
        ({"y": []}, "y: expected a list of values"),
        ({"chosen": (0.2, 2.0)}, r"chosen: expected one of .* for x, got 0.2"),
        ({"chosen": (0.1, 3.0)}, r"chosen: expected one of .* for y, got 3"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        plots.heat_map(**{"x": X, "y": Y, "values": SCORES, **changes})
