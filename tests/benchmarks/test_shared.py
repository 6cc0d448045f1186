"""What the benchmark scripts share."""

from __future__ import annotations

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.report import tables_untuned
from benchmarks.report.origin import title
from benchmarks.shared import records
from benchmarks.shared.comparison import compare
from benchmarks.shared.memory import process_peak_mib
from benchmarks.shared.oracle import exact
from benchmarks.shared.timing import interleaved_medians
from kdediff_jax import pairwise
from kdediff_jax.experiments.experiment import Expected


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_a_childs_peak_is_its_own():
    held = np.ones(300 * 2**17)  # 300 MiB
    code = "from benchmarks.shared.memory import process_peak_mib; print(process_peak_mib())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process_peak_mib() > 300 and held[-1] == 1
    assert float(child.stdout) < process_peak_mib() - 200


def test_oracle_is_the_core():
    rng = np.random.default_rng(0)
    x, c, b = rng.normal(size=(5, 2)), rng.normal(size=(7, 2)), rng.normal(size=7)
    found = pairwise.softmax_mean(*(jnp.asarray(a, jnp.float32) for a in (x, c, c, b)), 0.7)
    for ours, wanted in zip(found, exact(x, c, b, 0.7), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4)


def test_calls_are_timed_in_turn():
    order = []
    calls = {name: lambda name=name: order.append(name) or jnp.zeros(()) for name in "ab"}
    assert set(interleaved_medians(calls, repeats=3)) == {"a", "b"}
    assert "".join(order) == 4 * "ab"


def test_a_part_of_a_measurement_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "OUTPUT", tmp_path)
    records.save("some", {}, {"x": 1}, partial=True)
    assert not list(tmp_path.iterdir())
    records.save("some", {"n": 3}, {"x": 1})
    record = json.loads((tmp_path / "some.json").read_text())
    assert record["x"] == 1 and "commit" in record["provenance"]


def filters(**scores):
    return {label: {"scores": {"rmse": values}} for label, values in scores.items()}


def test_comparison_takes_the_best_rival_that_never_failed():
    of = filters(lenkpf=[1.0, 1.2, 1.1]) | {
        "enkf tuned": {"scores": {"rmse": [2.0, 2.1, 2.4]}},
        "sir tuned": {"scores": {"rmse": [0.1, np.nan, 0.1]}},
    }
    found = compare(of, "rmse")
    assert found.name == "enkf tuned" and found.difference < -2 and not found.behind
    assert compare(of, "w2") is None


def test_published_figures_are_the_strongest():
    known = [
        Expected("enkf", 100, "rmse", 0.5, ""),
        Expected("iEnKS", 10, "rmse", 0.3, ""),
        Expected("sir", 4000, "rmse", 0.2, ""),
    ]
    first, more = (
        tables_untuned.strongest(known, 100),
        tables_untuned.stronger_with_more(known, 100),
    )
    assert tables_untuned.figure(first, ours=0.4) == "**0.3** iEnKS†, N = 10"
    assert tables_untuned.figure(more, ours=0.1) == "0.2 SIR, N = 4000"
    assert tables_untuned.strongest(known, 5) is None
    assert tables_untuned.stronger_with_more(known, 4000) is None


def test_title_of_a_cell():
    assert title("lorenz63-full:100:laplace:arctan") == "lorenz63-full, N = 100, laplace arctan"
    assert title("lorenz63-z:20") == "lorenz63-z, N = 20"
