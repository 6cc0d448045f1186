"""`kdediff plot` as its users meet it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import kdediff_jax as kd
from kdediff_jax import plots, results
from kdediff_jax.cli.app import app

pytest.importorskip("matplotlib")


@pytest.fixture
def invoke(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    """Return the file of a short run of the command line."""
    folder = tmp_path_factory.mktemp("run")
    command = ("run", "linear-gaussian", "--cycles", "4", "-n", "20", "-f", "enkf", "-f", "sir")
    done = CliRunner().invoke(app, [*command, "-o", str(folder)])
    assert done.exit_code == 0, done.output
    return folder / "linear-gaussian.nc"


def pictures(folder):
    found = sorted(path.name for path in folder.iterdir())
    assert all((folder / n).read_bytes().startswith(b"\x89PNG") for n in found if n.endswith("png"))
    return found


def test_everything_that_a_file_holds_is_drawn(invoke, run_file, tmp_path):
    shown = invoke("plot", run_file, "-o", tmp_path)
    assert shown.exit_code == 0, shown.output
    kinds = plots.kinds(run_file)
    assert {"trajectory", "ensemble", "rank", "spread", "diagnostics"} <= set(kinds)
    assert pictures(tmp_path) == sorted(f"linear-gaussian-{kind}.png" for kind in kinds)
    assert all(f"linear-gaussian-{kind}.png" in shown.output for kind in kinds)


def test_the_file_says_which_coordinates_are_measured(run_file):
    data = results.read(run_file)
    experiment = kd.experiments.load("linear-gaussian")
    measured = data["measured_coordinate"].values
    assert measured.shape == (data.sizes["component"],)
    state = np.arange(data.sizes["coordinate"], dtype=np.float32)
    np.testing.assert_array_equal(experiment.observation.operator(state), measured)


def test_one_kind_of_one_filter_and_cycle(invoke, run_file, tmp_path):
    target = tmp_path / "below" / "members.png"
    command = ("plot", run_file, "-k", "marginals", "-f", "sir", "--cycle", -2, "-o", target)
    shown = invoke(*command)
    assert shown.exit_code == 0, shown.output
    assert pictures(target.parent) == ["members.png"]
    again = invoke(*command)
    assert again.exit_code == 2 and "--force" in again.output
    assert invoke(*command, "--force").exit_code == 0


def test_a_kind_that_does_not_fit_is_left_out_and_named(invoke, run_file, tmp_path):
    names = results.read(run_file)["coordinate"].values
    both = ("-v", names[0], "-v", names[1]) if len(names) > 1 else ("-v", names[0], "-v", names[0])
    shown = invoke("plot", run_file, *both, "-o", tmp_path)
    assert shown.exit_code == 0, shown.output
    assert "trajectory   left out: filter: expected one of enkf, sir" in shown.output
    assert "linear-gaussian-trajectory.png" not in pictures(tmp_path)


def test_a_sweep_is_drawn(invoke, tmp_path):
    axes = {"inflation": [1.0, 1.1], "seed": [1, 2, 3]}
    data = results.sweep_dataset(
        axes,
        {"rmse": np.arange(6.0).reshape(2, 3)},
        {"selected_by": "mean rmse over seeds", "selected": json.dumps({"inflation": 1.0})},
    )
    path = results.write(data, tmp_path / "sweep.nc")
    shown = invoke("plot", path)
    assert shown.exit_code == 0, shown.output
    assert pictures(tmp_path) == ["sweep-heat-map.png", "sweep.nc"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "trajektory"], "Did you mean trajectory?"),
        (["-k", "ensemble", "--cycle", 99], "cycle: expected 1 to 4"),
        (["-v", "no such name"], "got 'no such name'"),
        (["-f", "kde"], "filter: expected one of enkf, sir, got 'kde'"),
        (["-k", "heat-map"], "the file holds a run"),
        (["-k", "map"], "which the file does not hold"),
        (["-k", "rank", "-k", "spread", "-o", "a.png"], "expected a folder for 2 kinds"),
        (["-k", "rank", "-o", "a.pdf"], "expected a folder or a name that ends in .png"),
    ],
)
def test_bad_options_are_named_and_write_nothing(invoke, run_file, tmp_path, arguments, message):
    where = [] if "-o" in arguments else ["-o", tmp_path]
    shown = invoke("plot", run_file, *arguments, *where)
    assert shown.exit_code == 2, shown.output
    assert message in shown.output and not list(tmp_path.iterdir())


def test_files_that_are_no_results_are_one_line(invoke, run_file, tmp_path):
    assert invoke("plot", tmp_path / "none.nc").exit_code == 2
    half = tmp_path / "half.nc"
    half.write_bytes(run_file.read_bytes()[:3000])
    shown = invoke("plot", half)
    assert shown.exit_code == 2 and "damaged" in shown.output
    results.read(run_file).drop_attrs().to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    shown = invoke("plot", tmp_path / "foreign.nc")
    assert shown.exit_code == 2 and "not one written by kdediff_jax" in shown.output
    np.savez(tmp_path / "checkpoint", x=np.zeros(3))
    shown = invoke("plot", tmp_path / "checkpoint.npz")
    assert shown.exit_code == 2 and "is a checkpoint" in shown.output
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".png"]
