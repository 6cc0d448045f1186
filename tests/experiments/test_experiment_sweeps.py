"""Experiments as functions of a grid point, and as reproduced tables."""

from __future__ import annotations

import dataclasses
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.experiments import records, scores, sweeps, tables
from kdediff_jax.experiments import run as running
from kdediff_jax.experiments.plan import Plan
from kdediff_jax.experiments.reproduction import reproduce
from kdediff_jax.experiments.sweeps import ExperimentRun

SMALL = Plan((10,), (1000, 1001), (0, 1, 2), finalists=1, w2_every=5, num_cycles=10)


def small_experiment():
    """`linear-gaussian` with a grid of two points: its reference is exact and cheap."""
    return dataclasses.replace(
        experiments.load("linear-gaussian"),
        grid={"state_bandwidth": (0.1,), "obs_bandwidth": (0.25, 0.5)},
    )


PAPER = "arXiv 2603.21291, RMSE"


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
            {"method": "kde", "members": 20, "score": "rmse", "value": 3.07, "source": PAPER},
            {"method": "enks", "members": 100, "score": "rmse", "value": 0.9, "source": "others"},
        ],
        "members": {
            "100": {"chosen": chosen, "filters": {"kde": entry(1.25, 1)}},
            "20": {"chosen": chosen, "filters": {"kde": entry(None, 2)}},
        },
    }


def test_the_references_of_all_seeds_are_one_program():
    """One for each would fill the process's memory maps after a thousand seeds, and end it."""
    experiment = experiments.load("linear-gaussian")
    experiment.exact.clear_cache()
    found = sweeps.references(experiment, (0, 1, 2), 4, draws=5)
    assert found.draws.shape == (3, 4, 5, 2) and experiment.exact._cache_size() == 1


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
def test_seeds_that_jax_would_repeat_are_refused(seed):
    experiment = small_experiment()
    twin = experiment.twin(2**32 - 1, 10, 2, jnp.dtype("float32"))
    assert running.reference(experiment, twin, 2**32 - 1).shape[0] == 2
    with pytest.raises(ValueError, match="seed: expected from 0 to 4294967295"):
        experiment.twin(seed, 10, 2, jnp.dtype("float32"))
    with pytest.raises(ValueError, match="seed: expected from 0 to 4294967295"):
        running.run_filter(experiment, experiment.filter("enkf", 10), twin, seed)


def test_a_record_is_stored_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    plan = dataclasses.asdict(SMALL)
    records.save({**synthetic_record(), "plan": plan}, plan, path)
    first = path.read_bytes()
    assert records.read(path, "linear-gaussian", plan)["members"].keys() == {"100", "20"}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*record\.json'"):
        records.save({**synthetic_record(), "plan": plan, "members": {}}, plan, path)
    assert path.read_bytes() == first and os.listdir(tmp_path) == ["record.json"]


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
        expected, _ = scores.score(
            experiment, by_hand.result.saved, by_hand.result.info, twin.truth, posterior
        )
        for name in ("energy_score", "crps", "rmse", "spread", "coverage", "ess", "steps"):
            np.testing.assert_allclose(
                found[name][0, 0, i], getattr(expected, name), rtol=2e-3, err_msg=name
            )
        assert found["failed"][0, 0, i] == expected.failed == 0
        key = jax.random.key(scores.SEED_OF_DIRECTIONS)
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
        ["published: enks", "", "0.9"],
    ]
    text = tables.markdown(made)
    assert "| kde: h | 0.25 | 0.25 |" in text and "RMSE of the mean" in text


def test_records_of_older_names_are_read():
    made = synthetic_record()
    old = json.loads(json.dumps(made).replace("enkf-pairs", "enkf-sampled"))
    old["members"]["20"]["filters"]["enkf-sampled tuned"] = {"scores": {}, "diverged": 0}
    read = records.with_new_names(old)
    assert "enkf-pairs" in read["members"]["20"]["chosen"]
    assert "enkf-pairs tuned" in read["members"]["20"]["filters"]
    assert read["members"]["100"] == made["members"]["100"]
    assert "enkf-sampled" in old["members"]["20"]["chosen"]  # the caller's is left alone
    assert tables.settings_table(read) == tables.settings_table(made)


def test_plain_is_what_json_holds():
    value = {"a": (1, 2.5, float("nan")), "b": [None, True, "x", {"c": float("inf")}]}
    assert records.plain(value) == {"a": [1, 2.5, None], "b": [None, True, "x", {"c": None}]}
    with pytest.raises(TypeError, match="expected what JSON can hold, got ndarray"):
        records.plain({"a": np.ones(2)})
