"""Parameters found from wrong starts: one run, and in slow tests the benchmark's twenty."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import parameters


def recovered(row):
    """Whether the bias lies within two posterior standard deviations, and it has learned."""
    return abs(row["bias"]) < 2 * row["spread"] and row["failed cycles"] == 0


def test_rho_is_found_from_a_wrong_start():
    """From 24 +- 2 to 28: the quick version, one run of 60 cycles."""
    problem = parameters.PROBLEMS["lorenz63, rho"]._replace(walks=(0.02,), members=60)
    (row,) = parameters.measure(problem, "EnKF", seeds=(3,), cycles=60).values()
    assert recovered(row) and abs(row["bias"]) < 1 and row["spread"] < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "label", "walk"),
    [
        ("lorenz63, rho", "EnKPF", 0.03),
        ("lorenz63, rho", "EnKF", 0.03),
        ("lorenz96-40, forcing", "LEnKPF", 0.03),
        ("lorenz96-40, forcing", "LETKF", 0.03),
    ],
)
def test_over_twenty_seeds_intervals_cover_what_they_say(name, label, walk):
    """Bias within two posterior standard deviations, coverage of the 90 % interval 80 to 97 %."""
    problem = parameters.PROBLEMS[name]._replace(walks=(walk,))
    (row,) = parameters.measure(problem, label).values()
    assert row["runs"] == 20 and recovered(row), row
    assert 0.8 <= row["coverage"] <= 0.97, row


def test_scores_of_known_ensembles():
    """Exact: two runs whose members are the same two values, the truth inside and outside."""
    members = np.broadcast_to(np.array([[[1.0, 3.0]], [[4.0, 6.0]]]), (2, 4, 2))
    row = parameters.scores(members, np.ones((2, 4)), np.array([0, 1]), 2.0)
    assert row["bias"] == 1.5 and row["coverage"] == 0.5 and row["last inside"] == 1
    np.testing.assert_allclose(row["spread"], 2**0.5)
    np.testing.assert_allclose(row["rmse"], 4.5**0.5)
    assert row["runs"] == 2 and row["failed cycles"] == 1
