"""Axes of a sweep: their kind, their order, and what is wrong with them."""

import jax.numpy as jnp
import numpy as np
import pytest
from sweep_problem import scores

from kdediff_jax.sweeping import sweep
from kdediff_jax.sweeping.grid import check_axes, combinations


def test_axes_keep_their_kind(dtype):
    seen = {}

    def run(point):
        seen.update({name: (value.dtype, value.shape) for name, value in point.items()})
        return {"x": point["a"]}

    result = sweep(run, {"a": np.array([2.0, 1.0]), "n": range(3), "b": jnp.array([7])})
    assert seen == {"a": (dtype, ()), "n": (jnp.int32, ()), "b": (jnp.int32, ())}
    assert list(result.axes) == ["a", "n", "b"]
    np.testing.assert_array_equal(result.axes["a"], np.array([2, 1], dtype))
    np.testing.assert_array_equal(result.values["x"][:, 0, 0], [2, 1])


def test_first_axis_varies_slowest():
    points = combinations(check_axes({"width": [0.5, 0.1], "seed": [3, 1, 4]}))
    assert points["seed"].tolist() == [3, 1, 4, 3, 1, 4]
    np.testing.assert_array_equal(points["width"], np.float32([0.5] * 3 + [0.1] * 3))


@pytest.mark.parametrize(
    ("grid", "error", "message"),
    [
        ({}, ValueError, "grid: expected at least one axis"),
        ([("a", [1.0])], TypeError, "grid: expected a mapping"),
        ({1: [1.0]}, TypeError, "axis names that are strings, got 1"),
        ({"a": []}, ValueError, r"grid\['a'\]: expected at least one value"),
        ({"a": 0.5}, ValueError, r"grid\['a'\]: expected a 1-D list of values, got shape \(\)"),
        ({"a": [[0.5]]}, ValueError, r"1-D list of values, got shape \(1, 1\)"),
        ({"a": [[0.5], [1.0, 2.0]]}, ValueError, r"grid\['a'\]: expected a list of numbers"),
        ({"a": ["x"]}, TypeError, r"grid\['a'\]: expected ints or floats, got \['x'\]"),
        ({"a": [True]}, TypeError, "expected ints or floats"),
        ({"a": [1.0, np.nan]}, ValueError, "expected finite float32 values"),
        ({"a": [1e300]}, ValueError, "expected finite float32 values"),
        ({"a": [2**31]}, ValueError, "fit into int32"),
        ({"a": [0.5, 1.0, 0.5]}, ValueError, r"each value once, got \[0.5\] several times"),
    ],
)
def test_bad_grid_is_named(grid, error, message):
    with pytest.raises(error, match=message):
        sweep(scores, grid)
