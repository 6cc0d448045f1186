"""The mechanism that runs the pages: what it sees, what it refuses, what it quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs import blocks, includes

PAGE = Path("page.md")


def test_blocks_share_one_namespace_in_order():
    text = "```python\na = 2\n```\n\nwords\n\n```python\nprint(a + 1)\n```\n"
    first, second = blocks.run(text, PAGE)
    assert first.printed == "" and second.printed == "3\n"
    assert second.block.line == 7 and text[: second.block.end].endswith("```")


def test_a_block_that_would_not_be_run_is_refused():
    for text in ("    ```python\n    a\n    ```\n", "```{.python}\na\n```\n", "- ```py\n"):
        with pytest.raises(blocks.WrongPageError):
            blocks.find(text)
    assert not blocks.find("```sh\npython x.py\n```\n")


def test_quoted_exceptions_are_those_that_are_raised():
    code = "```python\nraise ValueError('one two  three')\n```\n\n```error\n{}\n```\n"
    for quoted in ("ValueError: one\ntwo three", "ValueError: one ... three", "ValueError:..."):
        blocks.run(code.format(quoted), PAGE)
    for quoted in ("ValueError: one", "TypeError: one two three", "one two three"):
        with pytest.raises(blocks.WrongPageError, match="but raised"):
            blocks.run(code.format(quoted), PAGE)
    with pytest.raises(blocks.WrongPageError, match="nothing was raised"):
        blocks.run("```python\n1\n```\n```error\nValueError: x\n```\n", PAGE)


def test_a_traceback_has_the_lines_of_the_page():
    with pytest.raises(ZeroDivisionError) as caught:
        blocks.run("words\n\n```python\na = 1\n1 / 0\n```\n", PAGE)
    assert caught.traceback[-1].lineno + 1 == 5  # pytest counts from 0


def test_a_block_that_needs_a_package_runs_where_it_is_installed():
    text = "<!-- needs: {} -->\n```python\nprint(1 + 1)\n```\n"
    (ran,) = blocks.run(text.format("json"), PAGE)
    assert ran.printed == "2\n" and ran.block.line == 2
    (left,) = blocks.run(text.format("no_such_module"), PAGE)
    assert left.printed == "" and left.block.needs == "no_such_module"


def test_pictures_are_found_and_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write = "```python\nfrom pathlib import Path\nPath('a.png').write_bytes(b'1')\n```\n"
    first, second = blocks.run(f"{write}\n```python\n2\n```\n", PAGE)
    assert first.pictures == {"a.png": b"1"} and not second.pictures
    assert not list(tmp_path.iterdir())


def test_includes_are_whole_parts_without_links_into_the_checkout():
    text = includes.fill("a\n\n<!-- include: README.md limits -->\n")
    assert "KDEDiffusion" in text and "](" not in text
    table = includes.part("benchmarks/RESULTS.md", "## What a rule costs")
    assert table.startswith("| one analysis") and "(CPU, jax" in table
    with pytest.raises(ValueError, match="no such"):
        includes.part("README.md", "no such")
