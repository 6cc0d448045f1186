"""The index names every benchmark, and every benchmark's files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import index
from kdediff_jax.experiments import CATALOGUE

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = [b for b in index.BENCHMARKS if b.runs.endswith(".py")]


def scripts():
    """Return every file of benchmarks that measures something when it is run."""
    places = (BENCHMARKS / name for name in ("speed", "accuracy", "ablation"))
    files = (path for place in places for path in place.glob("*.py"))
    return {p for p in files if 'if __name__ == "__main__":' in p.read_text()}


def test_every_script_is_in_the_index_once():
    named = [BENCHMARKS / b.runs for b in SCRIPTS]
    assert set(named) == scripts()
    assert len(named) == len(set(named))
    assert all(b.name == Path(b.runs).stem for b in SCRIPTS)


def test_names_are_unique():
    assert max(Counter(b.name for b in index.BENCHMARKS).values()) == 1


@pytest.mark.parametrize("benchmark", SCRIPTS, ids=lambda b: b.name)
def test_a_script_says_its_command_and_its_file(benchmark):
    text = (BENCHMARKS / benchmark.runs).read_text()
    assert benchmark.command in text.split('"""')[1]
    assert benchmark.writes[0] == f"{benchmark.name}.json"
    assert f'save("{benchmark.name}"' in text


@pytest.mark.parametrize(
    "benchmark", [b for b in index.BENCHMARKS if b not in SCRIPTS], ids=lambda b: b.name
)
def test_what_is_no_script_is_a_command(benchmark):
    program, command, experiment, *_ = benchmark.runs.split()
    assert (program, command) in {("kdediff", "reproduce"), ("kdediff", "run")}
    assert experiment in CATALOGUE


def test_every_result_is_written_by_one_benchmark():
    written = Counter(name for b in index.BENCHMARKS for name in b.writes)
    there = {path.name for path in (BENCHMARKS / "results").iterdir()}
    assert there <= set(written)
    assert max(written.values()) == 1


def test_every_record_has_a_section():
    text = (BENCHMARKS / "RESULTS.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    for benchmark in index.BENCHMARKS:
        if (BENCHMARKS / "results" / benchmark.writes[0]).exists():
            section, *_ = benchmark.section.split(";")
            assert section in headings or section.startswith("README"), benchmark.name


def test_unknown_name_says_which_there_are():
    script = BENCHMARKS / "index.py"
    done = subprocess.run([sys.executable, script, "kernel"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "'kernel'" in done.stderr and "kernel_weights" in done.stderr


def test_without_a_name_all_are_listed(capsys):
    assert index.main([]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == [b.name for b in index.BENCHMARKS]


def test_a_run_gets_the_arguments(monkeypatch):
    calls = []
    monkeypatch.setattr(index.subprocess, "call", lambda command, **_: calls.append(command) or 0)
    assert index.main(["sweep_grid", "--quick"]) == 0
    assert index.main(["lorenz63-z", "--quick"]) == 0
    assert calls[0][1:] == ["benchmarks/speed/sweep_grid.py", "--quick"]
    assert calls[1][1:4] == ["-m", "kdediff_jax", "reproduce"] and calls[1][-1] == "--quick"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.rglob("*.py")), ids=lambda p: p.stem)
def test_no_module_over_350_lines(path):
    assert len(path.read_text().splitlines()) <= 350
