"""Data sets of sweeps: every score by its axes, and back from the file."""

from typing import NamedTuple

import numpy as np
import pytest
from sweep_problem import GRID, ONE, scores

from kdediff_jax import results
from kdediff_jax.sweeping import sweep


class Pair(NamedTuple):
    mean: np.ndarray
    ess: np.ndarray


def test_dataset_round_trip(tmp_path):
    xr = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    result = sweep(scores, GRID, devices=ONE)
    values = {**result.values, "pair": Pair(np.ones((3, 4)), np.ones((3, 4, 2, 5)))}
    ds = results.sweep_dataset(result.axes, values, {"experiment": "toy", "batch_size": 4})
    back = results.read(results.write(ds, tmp_path / "sweep.nc"))
    xr.testing.assert_identical(back, ds)
    assert back["error"].dims == ("width", "seed")
    assert back["state_noise"].dims == ("width", "seed", "state_noise_0")
    assert back["pair_ess"].dims[2:] == ("pair_ess_0", "pair_ess_1")
    assert back["ok"].dtype == bool
    assert back["seed"].dtype == np.int32
    np.testing.assert_array_equal(back["error"].sel(seed=4), result.values["error"][:, 2])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"e": np.zeros((2, 1))}, r"e: expected a shape that begins with \(2, 3\), got \(2, 1\)"),
        ({"a": np.zeros((2, 3))}, "expected each name once, got 'a' twice"),
        ({"e": {"f": np.zeros((2, 3))}, "e_f": np.zeros((2, 3))}, "got 'e_f' twice"),
    ],
)
def test_dataset_names_what_is_wrong(values, message):
    pytest.importorskip("xarray")
    with pytest.raises(ValueError, match=message):
        results.sweep_dataset({"a": [1.0, 2.0], "b": [1, 2, 3]}, values, {})
