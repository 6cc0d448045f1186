"""Progress: a bar in a terminal, a line that changes without rich, few lines in a file."""

from __future__ import annotations

import importlib.util
import io
import sys

import pytest

from kdediff_jax import _progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream, *, rich=True, cycles=5):
    monkeypatch.setattr(sys, "stderr", stream)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: found(name) if rich or name != "rich" else None
    )
    with _progress.reporting(True) as report:
        for done in range(1, cycles + 1):
            report(done, cycles)
    return stream.getvalue()


def test_a_bar_in_a_terminal(monkeypatch):
    pytest.importorskip("rich")
    assert "5/5" in shown(monkeypatch, Terminal())


def test_a_line_that_changes_without_rich(monkeypatch):
    text = shown(monkeypatch, Terminal(), rich=False)
    assert text == "\r1/5 cycles, 0 s\r5/5 cycles, 0 s\n"  # not each, and ended


def test_few_lines_in_a_file_or_a_pipe(monkeypatch):
    assert shown(monkeypatch, io.StringIO()) == "1/5 cycles, 0 s\n5/5 cycles, 0 s\n"
    monkeypatch.setattr(_progress, "PIPED_SECONDS", 0.0)
    assert shown(monkeypatch, io.StringIO()).count("\n") == 5


def test_a_line_in_a_notebook_without_widgets(monkeypatch):
    monkeypatch.setattr(_progress, "_in_notebook", lambda: True)
    monkeypatch.setattr(_progress, "_rich_can_draw", lambda: False)
    assert shown(monkeypatch, io.StringIO()).startswith("\r1/5 cycles")


def test_ones_own_function_nothing_and_nonsense():
    seen = []
    with _progress.reporting(lambda *counts: seen.append(counts)) as report:
        report(1, 2)
    for nothing in (None, False):
        with _progress.reporting(nothing) as report:
            report(1, 2)
    assert seen == [(1, 2)]
    with pytest.raises(TypeError, match="progress: expected True or a function"):
        _progress.reporting("bar").__enter__()
