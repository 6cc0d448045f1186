"""Data sets of named fields."""

from __future__ import annotations

import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax import results

SPACE = kd.StateSpace(
    {
        "temperature": kd.Field({"lat": [0.0, 30.0], "lon": [0.0, 120.0, 240.0]}, units="K"),
        "forcing": kd.Field(long_name="radiative forcing"),
    }
)


def test_a_run_is_written_and_read_as_fields(tmp_path):
    pytest.importorskip("h5netcdf")
    rng = np.random.default_rng(0)
    mean, members = rng.normal(size=(4, 7)), rng.normal(size=(4, 5, 7))
    ds = results.field_dataset(
        SPACE, {"mean": mean, "": members, "last": mean[-1]}, times=[0.5, 1.0, 2.0, 4.0],
        attrs={"title": "a run"},
    )  # fmt: skip
    back = results.read(results.write(ds, tmp_path / "run.nc"))
    assert back.temperature.dims == ("time", "member", "lat", "lon")
    assert back.temperature_mean.attrs == {"units": "K"} and back.forcing.dims == ("time", "member")
    assert back.forcing.attrs == {"long_name": "radiative forcing"}
    (column,) = SPACE.columns("temperature", lat=30.0, lon=120.0)
    there = back.sel(lat=30.0, lon=120.0)
    np.testing.assert_array_equal(there.temperature, members[:, :, column])
    np.testing.assert_array_equal(there.temperature_mean.sel(time=2.0), mean[2, column])
    np.testing.assert_array_equal(there.temperature_last, mean[-1, column])
    np.testing.assert_array_equal(back.forcing_mean, mean[:, 6])


def test_what_does_not_fit_is_named():
    pytest.importorskip("h5netcdf")
    with pytest.raises(ValueError, match=r"mean: expected shape \(7,\)"):
        results.field_dataset(SPACE, {"mean": np.ones((3, 6))})
    other = {"a": kd.Field({"x": 2}), "b": kd.Field({"x": 3})}
    with pytest.raises(ValueError, match="x: expected the same coordinates in all fields"):
        results.field_dataset(kd.StateSpace(other), {"mean": np.ones(5)})
    for taken, message in (("time", "other dimensions"), ("lat", "no dimensions")):
        space = kd.StateSpace({"lat": kd.Field({taken: 2})})
        with pytest.raises(ValueError, match=message):
            results.field_dataset(space, {"": np.ones(2)})
    with pytest.raises(ValueError, match="time"):
        results.field_dataset(SPACE, {"mean": np.ones((3, 7))}, times=[0.0, 1.0])
