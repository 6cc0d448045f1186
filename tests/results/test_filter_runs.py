"""Runs as data sets and files: what is in them is what the run has, under its names."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax import results

pytest.importorskip("h5netcdf")
MODEL = kd.RandomWalk(1.0, 0.3)
OBSERVED = kd.GaussianObservation(kd.Select([0, 2]), 0.5)
YS = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
MEMBERS = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
TIMES = np.arange(1.0, 6.0)


def run(save=kd.save_moments, key=0):
    return kd.assimilate(
        jax.random.key(key), MODEL, OBSERVED, kd.EnKF(), jnp.asarray(MEMBERS), jnp.asarray(YS),
        save=save,
    )  # fmt: skip


def test_a_file_gives_back_what_the_run_has(tmp_path):
    result, truth = run(), np.zeros((5, 3), np.float32)
    given = {"times": TIMES, "measurements": YS, "truth": truth, "attrs": {"history": "a test"}}
    path = result.to_netcdf(tmp_path / "new" / "run.nc", **given)
    back = results.read(path)
    assert back.identical(result.to_xarray(**given))
    assert back["mean"].dims == back.spread.dims == ("cycle", "coordinate")
    assert back.ensemble.dims == ("member", "coordinate")
    np.testing.assert_array_equal(back["mean"], result.mean)
    np.testing.assert_array_equal(back.spread, result.spread)
    np.testing.assert_array_equal(back.ensemble, result.ensemble)
    np.testing.assert_array_equal(back.measurement, YS)
    for name in set(kd.AnalysisInfo._fields) - {"mean"}:
        np.testing.assert_array_equal(back[name], getattr(result.info, name), err_msg=name)
        assert back[name].dims == ("cycle",) and back[name].attrs["long_name"] != name
    np.testing.assert_array_equal(
        back.swap_dims(cycle="time").sel(time=3.0)["mean"], result.mean[2]
    )
    assert back.attrs["Conventions"].startswith("CF-") and back.ess.attrs["units"] == "1"
    assert back["mean"].attrs["cell_methods"] == "member: mean"
    with pytest.raises(FileExistsError, match=r"run\.nc exists"):
        result.to_netcdf(path)
    assert result.to_netcdf(path, force=True) == path


def test_fields_have_their_own_dimensions():
    space = kd.StateSpace({"height": kd.Field({"x": [0.0, 10.0]}, units="m"), "drag": kd.Field()})
    result = run(kd.save_ensembles)
    found = result.to_xarray(space, times=TIMES)
    assert found.height.dims == ("cycle", "member", "x") and found.height.attrs["units"] == "m"
    np.testing.assert_array_equal(found.height.sel(x=10.0), result.saved[:, :, 1])
    np.testing.assert_array_equal(found.drag_mean, result.mean[:, 2])
    assert found.drag_mean.attrs["long_name"] == "posterior mean of drag"
    assert found.height_ensemble.dims == ("member", "x")


def test_batches_and_what_save_stored():
    def stored(output):
        return {"first": output.analysis[0], "pair": (output.t, output.forecast)}

    batch = jax.vmap(lambda key: run(stored, key))(jnp.arange(3))
    found = batch.to_xarray(measurements=YS)
    assert found.saved_first.dims == ("run", "cycle", "saved_first_axis_0")
    assert found.saved_pair_0.dims == ("run", "cycle") and found.ok.shape == (3, 5)
    assert found.saved_pair_1.shape == (3, 5, 8, 3) and found.measurement.shape == (5, 2)
    np.testing.assert_array_equal(found["mean"].isel(run=1), run(key=1).mean)


def test_what_does_not_fit_is_named(tmp_path):
    result = run()
    for given, message in (
        ({"times": TIMES[:4]}, r"times: expected shape \(5,\), got \(4,\)"),
        ({"measurements": YS[0]}, r"measurements: expected shape \(5, m\), got \(2,\)"),
        ({"truth": YS}, r"truth: expected shape \(5, 3\), got \(5, 2\)"),
        ({"space": kd.StateSpace({"a": kd.Field()})}, "mean: expected 1 coordinate, got shape"),
        ({"space": kd.StateSpace({"a": kd.Field({"member": 3})})}, "a: expected other dimensions"),
    ):
        with pytest.raises(ValueError, match=message):
            result.to_netcdf(tmp_path / "x.nc", **given)
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_error_names_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(ImportError, match=r"kdediff_jax\[results\]"):
        run().to_xarray()
