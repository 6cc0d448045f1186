"""README is short, and the documents are those that the committed records make."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import blocks

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = ("README.md", "benchmarks/README.md", "benchmarks/RESULTS.md")


def test_example_is_short():  # that it runs is tested with the pages of the site
    inside = README.read_text().split("<!-- example:start -->")[1].split("<!-- example:end -->")[0]
    (block,) = blocks.find(inside)
    assert len(block.code.strip().splitlines()) <= 20


def test_documents_are_those_of_the_records():
    script = ROOT / "benchmarks" / "report" / "readme.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_readme_is_short_and_has_one_measured_table():
    text = README.read_text()
    assert len(text.splitlines()) <= 200
    inside = text.split("<!-- measured:start -->")[1].split("<!-- measured:end -->")[0]
    assert len(re.findall(r"^\| --- ", inside, re.MULTILINE)) == 1


def fragment(heading):
    """Return what a link to a heading is called: that of GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("source", DOCUMENTS)
def test_relative_links_exist(source):
    path = ROOT / source
    links = re.findall(r"\]\((?!http)([^)]+)\)", path.read_text())
    assert links
    for link in links:
        name, _, part = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if part:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert part in map(fragment, headings), link
