"""Experiments as sweeps and as reproduced tables; the commands `sweep` and `reproduce`."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import kdediff_jax as kd
from kdediff_jax import experiments, results
from kdediff_jax.cli import reproduce as reproduce_command
from kdediff_jax.cli import sweep as sweep_command
from kdediff_jax.cli.app import app
from kdediff_jax.experiments import run as running
from kdediff_jax.experiments import scoring, sweeps, tables
from kdediff_jax.experiments.reproduction import Plan, reproduce
from kdediff_jax.experiments.sweeps import ExperimentRun

SMALL = Plan((10,), (1000, 1001), (0, 1, 2), finalists=1, w2_every=5, num_cycles=10)


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

    chosen = {name: {"h": 0.25} for name in ("kde", "kde-mixture", "enkf", "enkf-sampled", "sir")}
    return {
        "experiment": "linear-gaussian",
        "selected by": "energy_score",
        "plan": {"scoring": [0, 1], "tuning": [2]},
        "published": [{"method": "kde", "members": 20, "score": "rmse", "value": 3.07}],
        "members": {
            "100": {"chosen": chosen, "filters": {"kde": entry(1.25, 1)}},
            "20": {"chosen": chosen, "filters": {"kde": entry(None, 2)}},
        },
    }


def test_a_point_is_the_run_of_the_command_line():
    """Scores of a grid point equal those of a run by hand, reference distances included."""
    experiment = small_experiment()
    posteriors = sweeps.references(experiment, [4, 7], 10)
    run = ExperimentRun(experiment, "kde", 20, num_cycles=10, posteriors=posteriors)
    axes = {"state_bandwidth": [0.2], "obs_bandwidth": [0.25], "seed": [7, 4]}
    found = kd.sweep(run, axes).values
    for i, seed in enumerate((7, 4)):
        twin = experiment.twin(seed, 20, 10, jnp.dtype(jnp.float32))
        analysis = experiment.filter("kde", 20, state_bandwidth=0.2, obs_bandwidth=0.25)
        by_hand = running.run_filter(experiment, analysis, twin, seed)
        posterior = running.reference(experiment, twin, seed)
        expected = scoring.score(
            experiment, by_hand.result.saved, by_hand.result.info, twin.truth, posterior
        )
        for name in ("energy_score", "crps", "rmse", "spread", "coverage", "ess", "steps"):
            np.testing.assert_allclose(
                found[name][0, 0, i], getattr(expected, name), rtol=2e-3, err_msg=name
            )
        assert found["failed"][0, 0, i] == expected.failed == 0
        key = jax.random.key(scoring.SEED_OF_DIRECTIONS)
        distances = [
            kd.metrics.sliced_wasserstein2(
                key, jnp.asarray(by_hand.result.saved[t]), jnp.asarray(posterior[t, :1000]), 64
            )
            for t in (4, 9)
        ]
        np.testing.assert_allclose(
            found["sliced_w2"][0, 0, i], np.sqrt(2) * np.mean(distances), rtol=2e-3
        )


def test_an_invalid_point_fails_alone():
    run = ExperimentRun(small_experiment(), "kde", 20, num_cycles=5)
    axes = {"state_bandwidth": [0.2, -1.0, 0.3], "obs_bandwidth": [0.25], "seed": [0, 1]}
    found = kd.sweep(run, axes).values
    assert (found["failed"][1] == 5).all() and (found["failed"][[0, 2]] == 0).all()
    for name in ("energy_score", "rmse", "ess"):
        assert np.isnan(found[name][1]).all() and np.isfinite(found[name][[0, 2]]).all()


@pytest.mark.parametrize(
    ("name", "axis", "message"),
    [
        ("kde", "state_bandwith", "did you mean 'state_bandwidth'"),
        ("enkf", "jitter", "grid: expected one of"),
    ],
)
def test_unknown_axes_are_named(name, axis, message):
    with pytest.raises(ValueError, match=message):
        kd.sweep(ExperimentRun(small_experiment(), name, 20, num_cycles=2), {axis: [0.1]})


def test_blind_members_are_the_forecast():
    """Without measurements every filter gives the free run."""
    experiment = small_experiment()
    found = [
        kd.sweep(ExperimentRun(experiment, name, 20, num_cycles=5, blind=True), {"seed": [3]})
        for name in ("enkf", "sir")
    ]
    np.testing.assert_array_equal(*(f.values["energy_score"] for f in found))
    seen = kd.sweep(ExperimentRun(experiment, "enkf", 20, num_cycles=5), {"seed": [3]})
    assert seen.values["energy_score"] != found[0].values["energy_score"]


@pytest.mark.parametrize("name", experiments.CATALOGUE)
def test_default_grids_fit_their_filters(name):
    experiment = experiments.load(name)
    for filter_name, known in sweeps.AXES.items():
        grid = sweeps.default_grid(experiment, filter_name)
        assert grid and set(grid) <= set(known)
        assert all(len(values) == len(set(values)) for values in grid.values())
    for axis, values in (experiment.tuning_grid or {}).items():
        assert set(values) <= set(experiment.grid[axis])


@pytest.mark.slow
def test_reproduction_is_complete():
    """Every filter is tuned and scored; a second call finds nothing to do (a dozen programs)."""
    record = reproduce(small_experiment(), SMALL)
    size = record["members"]["10"]
    assert record["selected by"] == "sliced_w2" and size["chosen"]["settings tried"] == 2
    assert size["chosen"]["kde"]["obs_bandwidth"] in (0.25, 0.5)
    labels = {"kde", "kde-mixture", "enkf", "enkf tuned", "sir", "sir tuned", "no measurements"}
    assert labels <= set(size["filters"])
    floor = size["sampling floor of w2"]["mean"]
    for label, entry in size["filters"].items():
        for score, found in entry["scores"].items():
            assert np.isfinite([found["mean"], found["median"]]).all(), (label, score)
        if label != "no measurements":
            assert entry["scores"]["w2"]["mean"] > 0.5 * floor
    assert size["filters"]["enkf"]["diverged"] == 0
    blind = size["filters"]["no measurements"]["scores"]["energy_score"]["mean"]
    assert size["filters"]["enkf"]["scores"]["energy_score"]["mean"] < blind

    def unexpected(*_):
        raise AssertionError("nothing was to be done")

    again = reproduce(
        small_experiment(), SMALL, report=unexpected, finished=unexpected, record=record
    )
    assert again is record


def test_tables_show_failures_and_the_paper():
    made = synthetic_record()
    header, rows = tables.table(made, "rmse")
    assert header == ["filter", "N = 20", "N = 100"]
    assert rows == [
        ["kde", "failed (2 diverged)", "1.25 ± 0.5 (1.25; 1 div.)"],
        ["paper: kde", "3.07", ""],
    ]
    text = tables.markdown(made)
    assert "| kde: h | 0.25 | 0.25 |" in text and "RMSE of the mean" in text


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
        (["sweep", "linear-gaussian", "-g", "statebandwidth=1"], "Did you mean state_bandwidth?"),
        (["sweep", "linear-gaussian", "-g", "jitter=1"], "kde has no 'jitter'"),
        (["sweep", "linear-gaussian", "-g", "state_bandwidth"], "expected NAME=V1,V2,.."),
        (["sweep", "linear-gaussian", "-g", "state_bandwidth=a"], "expected NAME=V1,V2,.."),
        (["sweep", "linear-gaussian", "-g", "tau_max=1", "-g", "tau_max=2"], "each axis once"),
        (["sweep", "linear-gaussian", "--seeds", "5:2"], "--seeds: expected"),
        (["sweep", "linear-gaussian", "--seeds", "-1"], "--seeds: expected"),
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
    for content in ("{}", "no json", json.dumps({**stored, "experiment": "other"})):
        (tmp_path / "linear-gaussian.json").write_text(content)
        shown = invoke("reproduce", "linear-gaussian", "-o", tmp_path)
        assert shown.exit_code == 2 and "kept" in shown.output
        assert (tmp_path / "linear-gaussian.json").read_text() == content
