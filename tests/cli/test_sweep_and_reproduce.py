"""The commands `sweep` and `reproduce`: interrupted and resumed, and what they refuse."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

import kdediff_jax as kd
from kdediff_jax import experiments, results
from kdediff_jax.cli import reproduce as reproduce_command
from kdediff_jax.cli import sweep as sweep_command
from kdediff_jax.cli.app import app


def small_experiment():
    """`linear-gaussian` with a grid of two points: its reference is exact and cheap."""
    return dataclasses.replace(
        experiments.load("linear-gaussian"),
        grid={"state_bandwidth": (0.1,), "obs_bandwidth": (0.25, 0.5)},
    )


def synthetic_record():
    """A record as `reproduce` returns it, of two sizes and one filter."""

    def entry(mean, diverged):
        found = {"mean": mean, "standard error": None if mean is None else 0.5, "median": mean}
        return {"scores": {"rmse": found}, "diverged": diverged}

    chosen = {name: {"h": 0.25} for name in ("kde", "kde-mixture", "enkf", "enkf-pairs", "sir")}
    return {
        "experiment": "linear-gaussian",
        "selected by": "energy_score",
        "plan": {"scoring": [0, 1], "tuning": [2]},
        "published": [
            {
                "method": "kde",
                "members": 20,
                "score": "rmse",
                "value": 3.07,
                "source": "arXiv 2603.21291, RMSE",
            }
        ],
        "members": {
            "100": {"chosen": chosen, "filters": {"kde": entry(1.25, 1)}},
            "20": {"chosen": chosen, "filters": {"kde": entry(None, 2)}},
        },
    }


@pytest.fixture
def invoke(monkeypatch):
    """Run a command in this process, with the small experiment."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sweep_command, "use_every_core", lambda: None)
    monkeypatch.setattr(reproduce_command, "use_every_core", lambda: None)
    small = small_experiment()
    monkeypatch.setattr(experiments, "load", lambda name: small)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


SWEEP = (
    *("sweep", "linear-gaussian", "-f", "kde-mixture", "-n", "10", "--cycles", "3"),
    *("--seeds", "0:3", "--batch-size", "2", "-g", "state_bandwidth=0.1,-1,0.2"),
)


def test_an_interrupted_sweep_gives_the_same_file(invoke, tmp_path, monkeypatch):
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    shown = invoke(*SWEEP, "-o", whole)
    assert shown.exit_code == 0, shown.output
    assert "3 of 9 points failed" in shown.output and "sliced w2" in shown.output
    assert (whole / "linear-gaussian-kde-mixture-sweep.png").read_bytes().startswith(b"\x89PNG")

    def interrupted(*args, progress, **kwargs):
        def stop_half_way(done, total):
            if done >= 4:
                raise KeyboardInterrupt

        return kd.sweep(*args, progress=stop_half_way, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(sweep_command, "sweep", interrupted)
        shown = invoke(*SWEEP, "-o", halved)
        assert shown.exit_code == 130 and "goes on" in shown.output
        assert [p.name for p in halved.iterdir()] == [
            "linear-gaussian-kde-mixture-sweep.partial.npz"
        ]
    shown = invoke(*SWEEP, "-o", halved)
    assert shown.exit_code == 0 and "going on from" in shown.output, shown.output
    first, second = (
        results.read(folder / "linear-gaussian-kde-mixture-sweep.nc") for folder in (whole, halved)
    )
    for name in first.variables:
        np.testing.assert_array_equal(first[name].values, second[name].values, err_msg=name)
    assert first.attrs["selected"] == second.attrs["selected"]
    assert json.loads(first.attrs["selected"])["state_bandwidth"] in (0.1, 0.2)
    assert first["energy_score"].dims == ("state_bandwidth", "seed")
    assert sorted(p.suffix for p in halved.iterdir()) == [".nc", ".png"]


def test_a_sweep_killed_before_its_clean_up_is_finished_by_the_same_command(
    invoke, tmp_path, monkeypatch
):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sweep_command.plots, "save", killed)
        assert invoke(*SWEEP, "-o", tmp_path).exit_code == 130
    stem = "linear-gaussian-kde-mixture-sweep"
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".nc", ".npz"]
    first = results.read(tmp_path / f"{stem}.nc")
    other = ("sweep", "linear-gaussian", "-f", "kde-mixture", "-n", "11", "--cycles", "3")
    shown = invoke(*other, "--seeds", "0:3", "-g", "state_bandwidth=0.1", "-o", tmp_path)
    assert shown.exit_code == 2 and "exists" in shown.output  # that file is not this sweep's
    assert results.read(tmp_path / f"{stem}.nc").identical(first)
    shown = invoke(*SWEEP, "-o", tmp_path)
    assert shown.exit_code == 0, shown.output
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".nc", ".png"]
    shown = invoke(*SWEEP, "-o", tmp_path)
    assert shown.exit_code == 2 and "exists" in shown.output  # finished now: --force, or nothing


@pytest.mark.parametrize("content", [b"not a sweep", b""])
def test_a_foreign_partial_file_is_refused_and_kept(invoke, tmp_path, content):
    partial = tmp_path / "linear-gaussian-kde-mixture-sweep.partial.npz"
    partial.write_bytes(content)
    shown = invoke(*SWEEP, "-o", tmp_path)
    assert shown.exit_code == 2 and "partial.npz" in shown.output
    assert partial.read_bytes() == content and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "lorenz63z"], "Did you mean lorenz63-z?"),
        (["sweep", "linear-gaussian", "-f", "enfk"], "Did you mean enkf?"),
        (["sweep", "linear-gaussian", "-f", "letkf"], "needs an experiment with a localisation"),
        (["sweep", "linear-gaussian", "-f", "enkpf", "-g", "kernelwidth=1"],
         "Did you mean kernel_width?"),
        (["sweep", "linear-gaussian", "-g", "statebandwidth=1"], "Did you mean state_bandwidth?"),
        (["sweep", "linear-gaussian", "-g", "jitter=1"], "kde has no 'jitter'"),
        (["sweep", "linear-gaussian", "-g", "state_bandwidth"], "expected NAME=V1,V2,.."),
        (["sweep", "linear-gaussian", "-g", "state_bandwidth=a"], "expected NAME=V1,V2,.."),
        (["sweep", "linear-gaussian", "-g", "tau_max=1", "-g", "tau_max=2"], "each axis once"),
        (["sweep", "linear-gaussian", "--seeds", "5:2"], "--seeds: expected"),
        (["sweep", "linear-gaussian", "--seeds", "-1"], "--seeds: expected"),
        (["sweep", "linear-gaussian", "--seeds", "0,2147483648"], "--seeds: expected"),
        (["sweep", "linear-gaussian", "--seeds", "0:99999999999"], "--seeds: expected"),
        (["sweep", "linear-gaussian", "--seeds", f"0:{10**30}"], "--seeds: expected"),
        (["sweep", "linear-gaussian", "--cycles", "2", "--seeds", "0", "--score", "rmsee"],
         "--score: expected one of"),
        (["reproduce", "lorenz63z"], "Did you mean lorenz63-z?"),
        (["reproduce", "linear-gaussian", "--members", "1"], "--members: expected sizes"),
    ],
)  # fmt: skip
def test_bad_options_are_named_and_write_nothing(invoke, tmp_path, arguments, message):
    shown = invoke(*arguments, "-o", tmp_path)
    assert shown.exit_code == 2
    assert message in shown.output
    assert not list(tmp_path.iterdir())


def test_reproduce_writes_tables_and_refuses_other_files(invoke, tmp_path, monkeypatch):
    calls = []

    def made(experiment, plan, *, report, finished, record):
        calls.append(record)
        finished(whole := {**synthetic_record(), "plan": dataclasses.asdict(plan)})
        return whole

    monkeypatch.setattr(reproduce_command, "reproduce", made)
    shown = invoke("reproduce", "linear-gaussian", "--members", "20,100", "-o", tmp_path)
    assert shown.exit_code == 0, shown.output
    assert "failed (2 diverged)" in shown.output and "paper: kde" in shown.output
    assert "## RMSE of the mean" in (tmp_path / "linear-gaussian.md").read_text()
    stored = json.loads((tmp_path / "linear-gaussian.json").read_text())
    assert stored["provenance"]["device"] and stored["members"]["20"]["chosen"]
    shown = invoke("reproduce", "linear-gaussian", "--members", "20,100,250", "-o", tmp_path)
    assert shown.exit_code == 0 and calls[0] is None and "20" in calls[1]["members"]
    old = json.dumps(stored).replace("enkf-pairs", "enkf-sampled")
    (tmp_path / "linear-gaussian.json").write_text(old)
    shown = invoke("reproduce", "linear-gaussian", "--members", "20,100,250", "-o", tmp_path)
    assert shown.exit_code == 0 and "enkf-pairs" in calls[2]["members"]["20"]["chosen"]
    for content in ("{}", "no json", json.dumps({**stored, "experiment": "other"})):
        (tmp_path / "linear-gaussian.json").write_text(content)
        shown = invoke("reproduce", "linear-gaussian", "-o", tmp_path)
        assert shown.exit_code == 2 and "kept" in shown.output
        assert (tmp_path / "linear-gaussian.json").read_text() == content
