"""The ablation's variants build, and those that differ in numbers alone share a program."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
import pytest

from benchmarks.ablation.ablation import CELLS, OTHERS, compare, line, programs
from benchmarks.ablation.variants import LOCAL_SETS, SETS, variants_of, variants_of_set
from kdediff_jax import experiments


@pytest.mark.parametrize("name", ["lorenz63-z", "lorenz96-40"])
def test_variants_share_programs(name):
    filters = {label: build() for label, build in variants_of(experiments.load(name)).items()}
    groups = programs(filters)
    assert len(groups) <= 5 < len(filters)
    assert sorted(label for labels, _, _ in groups for label in labels) == sorted(filters)
    for labels, numbers, rest in groups:
        for i, label in enumerate(labels):
            again = eqx.combine(jax.tree.map(lambda leaf, i=i: leaf[i], numbers), rest)
            assert eqx.tree_equal(again, filters[label]), label


def test_cells_are_of_the_catalogue():
    assert {cell.split(":")[0] for cell in CELLS} <= set(experiments.CATALOGUE)


def test_sets_of_variants_build_and_have_cells():
    assert SETS.keys() | LOCAL_SETS.keys() == OTHERS.keys()
    for name, (_, cells) in OTHERS.items():
        experiment = experiments.load(cells[0].split(":")[0])
        built = {label: build() for label, build in variants_of_set(name, experiment).items()}
        assert next(iter(built)) == "default" and len(built) > 2
        assert {cell.split(":")[0] for cell in cells} <= set(experiments.CATALOGUE)


def test_differences_are_paired():
    mine, default = np.array([2.0, 3.0, np.nan, 5.0]), np.array([1.0, 1.0, 1.0, 2.0])
    found = compare(mine, default)
    assert found["pairs"] == found["worse"] == 3 and found["difference"] == 2
    assert compare(mine[1:], default[1:])["difference"] is None


def test_failed_and_lost_runs_are_counted():
    default = {"energy_score": [1.0, 1.0, 1.0, 1.0], "failed": [0, 0, 0, 0]}
    variant = {"energy_score": [1.5, 9.0, 1.2, 1.1], "failed": [0, 0, 2, 0]}
    other = {"coverage": [1.0], "rmse": [1.0], "spread": [1.0]}
    both = [row | other for row in (variant, default)]
    found = line(*both, free=np.full(4, 5.0))
    assert (found["failed"], found["lost"]) == (1, 1)
    assert found["scores"] == [1.5, 9.0, None, 1.1]
    assert found["without lost runs"]["pairs"] == 2
