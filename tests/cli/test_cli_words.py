"""What the command line tells: progress in lines, costs beforehand, columns, the shell's names."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time

import pytest
from rich.console import Console
from rich.table import Table

from kdediff_jax import experiments
from kdediff_jax.cli import progress, tables
from kdediff_jax.experiments import CATALOGUE, FILTERS, costs
from kdediff_jax.experiments import quick as quickness
from kdediff_jax.experiments.plan import Plan


def lines_of(work):
    """Return what a board prints into a pipe while `work(board)` runs."""
    stream = io.StringIO()
    with progress.board(Console(file=stream, width=200)) as board:
        work(board)
    return stream.getvalue().splitlines()


def test_a_pipe_gets_lines_at_intervals(monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)

    def work(board):
        advance = board.task("enkpf: filtering", 4)
        for parts in (0, 1, 3):
            advance(parts)

    shown = lines_of(work)
    assert shown[0] == "enkpf: filtering" and shown[-1].startswith("enkpf: filtering 4/4 cycles, ")
    assert "left" in shown[2] and "left" not in shown[1]
    monkeypatch.setattr(progress, "LINE_SECONDS", 1000.0)
    assert len(lines_of(work)) == 2  # begun and ended


def test_a_long_part_is_not_silent(monkeypatch):
    monkeypatch.setattr(progress, "ALIVE_SECONDS", 0.1)

    def work(board):
        board.stage("tuning kde")
        time.sleep(0.5)

    shown = lines_of(work)
    assert len(shown) >= 3 and all(line.startswith("tuning kde ... at work") for line in shown[1:])


def test_on_a_terminal_there_are_bars_and_nothing_is_left():
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=True, _environ={})
    with progress.board(console) as board:
        advance = board.task("kde: filtering", 10)
        advance(10)
        board.stage("tuning")
        board.stage("scoring")
    assert "10/10" in stream.getvalue() and "\r" in stream.getvalue()


def test_a_table_says_when_it_is_cut_and_what_its_columns_mean():
    table = Table("filter", "W2", "a long name of a column")
    table.add_row("enkpf", "1.5", "much longer than the window is wide")
    stream = io.StringIO()
    tables.show(Console(file=stream, width=40), table, ("filter", "W2", "rmse"), "2 of 9 rows")
    text = stream.getvalue()
    assert "cut to 40 columns of" in text and "2 of 9 rows" in text
    assert "W2: Wasserstein distance" in text and "RMSE: root mean square" in text
    stream = io.StringIO()
    tables.show(Console(file=stream, width=200), table, ())
    assert "cut" not in stream.getvalue()


def test_every_column_of_the_tables_has_words():
    from kdediff_jax.cli.run import COLUMNS
    from kdediff_jax.experiments.tables import NAMES

    without = {"filter", "compile s", "run s"}
    assert {tables.SAME.get(c, c) for c in COLUMNS} - set(tables.MEANINGS) == without
    assert {tables.SAME.get(NAMES[s], "") for s in ("w2", "energy_score", "rmse")} <= {
        *tables.MEANINGS, ""
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.04 s"), (4.2, "4 s"), (33, "35 s"), (100, "1.7 min"), (1500, "25 min"),
     (3600 * 5, "5 h"), (86400 * 10, "10 days"), (1e9, "32 years")],
)  # fmt: skip
def test_durations(seconds, text):
    assert costs.duration(seconds) == text


def test_what_costs_out_of_proportion_is_said():
    assert not costs.dear(("enkpf", "kde", "enkf", "sir"), 1000, 40)
    (huge,) = costs.dear(("kde",), 10**6, 3)
    assert "square of the members" in huge and "h a cycle" in huge
    (high,) = costs.dear(("enkpf", "letkf"), 40, 300)
    assert "cube of the dimension" in high and " 8 s a cycle" in high  # measured: 7.5 s


def test_costs_grow_with_the_work():
    experiment = experiments.load("lorenz63-z")
    small, large = (costs.cost(experiment, ("kde",), n, 100, 2) for n in (100, 1000))
    assert small.seconds < large.seconds and small.memory < large.memory
    assert 10 < small.seconds < 200  # a minute
    assert set(costs.ANALYSIS) == set(FILTERS)


def test_a_reproduction_takes_hours_and_a_quick_one_minutes():
    experiment, small = experiments.load("lorenz63-z"), Plan.quick()
    whole = costs.of_reproduction(experiment, Plan(), 2)
    assert 1800 < whole < 36 * 3600  # the pages say hours on two cores
    assert 20 < costs.of_reproduction(quickness.quick(experiment), small, 2) < 120


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_quick_experiments_take_less_than_two_minutes(name):
    """By the estimate, of which compiling is most; measured ones are in the commit."""
    experiment = quickness.quick(experiments.load(name))
    names = experiment.default_filters
    found = costs.cost(experiment, names, quickness.MEMBERS, experiment.num_cycles, 2)
    assert found.seconds < 90 and experiment.burn_in < experiment.num_cycles
    assert all(len(values) <= 3 for values in experiment.grid.values())


def completed(*words, shell="complete_bash"):
    """Return what the shell is told for the last of the words."""
    line = " ".join(words)
    code = "import sys; sys.argv[0] = 'kdediff'; from kdediff_jax.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100,
        env={**os.environ, "_KDEDIFF_COMPLETE": shell, "COMP_WORDS": line,
             "COMP_CWORD": str(len(words) - 1)},
    )  # fmt: skip
    return re.findall(r"\S+", done.stdout)


def test_the_shell_knows_experiments_and_filters():
    assert completed("kdediff", "run", "lorenz63") == [n for n in CATALOGUE if "lorenz63" in n]
    assert completed("kdediff", "sweep", "toy") == ["toy-bimodal"]
    assert completed("kdediff", "run", "toy-bimodal", "-f", "kde") == [
        "kde", "kde-sde", "kde-mixture"
    ]  # fmt: skip
    assert completed("kdediff", "run", "toy-bimodal", "--start", "p") == ["prior"]
    assert completed("kdediff", "reproduce", "nothing") == []
