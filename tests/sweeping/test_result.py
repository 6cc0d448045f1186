"""The best point of a sweep, and what is wrong with a question for it."""

import numpy as np
import pytest

from kdediff_jax.sweeping import SweepResult, best_point
from kdediff_jax.sweeping.grid import check_axes


def swept(score, **axes):
    axes = check_axes(axes)
    return SweepResult(axes, {"w2": np.asarray(score), "vector": np.zeros((2, 3))}, 0, 0, 1, 1)


def test_best_point_averages_and_minimises():
    result = swept([[3.0, 5.0], [1.0, 5.0], [2.0, np.nan]], width=[0.1, 0.2, 0.3], seed=[1, 2])
    chosen, means = best_point(result, "w2")
    assert chosen == {"width": pytest.approx(0.2)}
    np.testing.assert_array_equal(means, [4, 3, np.nan])
    chosen, means = best_point(result, "w2", mean_over=())
    assert chosen == {"width": pytest.approx(0.2), "seed": 1}
    assert means.shape == (3, 2)
    assert best_point(result, "w2", mean_over="width") == (
        {"seed": 1},
        pytest.approx([2, np.nan], nan_ok=True),
    )


@pytest.mark.parametrize(
    ("score", "mean_over", "message"),
    [
        ("w22", ("seed",), "score: expected one of .* did you mean 'w2'"),
        ("w2", ("sead",), "mean_over: expected one of .* did you mean 'seed'"),
        ("vector", "seed", r"score: expected one number per point \(2, 2\), got \(2, 3\)"),
        ("w2", "seed", "'w2' is a number, got NaN everywhere"),
    ],
)
def test_best_point_names_what_is_wrong(score, mean_over, message):
    result = swept([[1.0, np.nan], [np.nan, 2.0]], width=[0.1, 0.2], seed=[1, 2])
    with pytest.raises(ValueError, match=message):
        best_point(result, score, mean_over=mean_over)
