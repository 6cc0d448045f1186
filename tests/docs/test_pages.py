"""Every block of Python in README and on the site runs, and the pages name what there is.

`make docs` runs the site's blocks too: here README's alone is a quick test.
"""

from __future__ import annotations

import re
from pathlib import Path

import jax
import pytest

import kdediff_jax as kd
from docs import blocks, includes

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "pages"
README = ROOT / "README.md"
WITH_CODE = [p for p in sorted(PAGES.rglob("*.md")) if "```py" in p.read_text()]


def run(text, path):
    # as a user's session promotes: the other tests are stricter
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert blocks.run(text, path)


def test_readme_runs():
    """At a size for tests: the same programs, fewer cycles."""
    text = README.read_text()
    assert "num_cycles=100" in text
    run(text.replace("num_cycles=100", "num_cycles=5"), README)


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.name)
def test_page_runs(path):
    run(path.read_text(), path)


@pytest.mark.parametrize("path", sorted(PAGES.rglob("*.md")), ids=lambda path: path.name)
def test_includes_exist(path):
    assert "<!-- include" not in includes.fill(path.read_text())


def test_every_public_name_is_in_the_reference_once():
    text = "\n".join(path.read_text() for path in (PAGES / "reference").glob("*.md"))
    found = re.findall(r"^::: kdediff_jax\.(\S+)$", text, re.MULTILINE)
    assert sorted(found) == sorted(kd.__all__)


def test_members_listed_in_the_reference_exist_and_are_described_nowhere_else():
    text = "\n".join(path.read_text() for path in (PAGES / "reference").glob("*.md"))
    for entry in re.split(r"^::: kdediff_jax\.", text, flags=re.MULTILINE)[1:]:
        name, _, rest = entry.partition("\n")
        for member in re.findall(r"^        - (\w+)$", rest, re.MULTILINE):
            assert hasattr(getattr(kd, name), member), (name, member)
            assert member not in kd.__all__, (name, member)


def test_diagnosing_names_every_finding_and_every_field():
    text = (PAGES / "diagnosing.md").read_text()
    source = (ROOT / "kdediff_jax" / "diagnosis" / "checks.py").read_text()
    kinds = re.findall(r'return Finding\(\s*"([^"]+)"', source)
    assert len(kinds) >= len(kd.diagnosis.checks.CHECKS)
    for name in (*kinds, *(f"`{field}`" for field in kd.AnalysisInfo._fields)):
        assert f"| {name} |" in text, name


def test_navigation_has_every_page():
    config = (ROOT / "docs" / "mkdocs.yml").read_text()
    listed = re.findall(r"(\S+\.md)$", config, re.MULTILINE)
    assert sorted(listed) == sorted(str(p.relative_to(PAGES)) for p in PAGES.rglob("*.md"))
