"""The committed notebooks: valid, small, executed without errors, and free of local traces."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
MAX_BYTES = 400_000
ABSOLUTE = re.compile(
    r"(?<![\w.:/-])/(?:home|root|tmp|work|usr|var|opt|Users|content|mnt)/"
    r"|\b[A-Za-z]:\\\\?(?:Users|Program)"
)

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="notebooks come with a checkout only")


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text_of(value):
    """Return a multiline string, which notebooks may hold as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def texts(output):
    """Return what an output says in text, whatever its kind."""
    yield text_of(output.get("text", ""))
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/"):
            yield text_of(value)


def test_they_are_numbered():
    assert [path.stem[:2] for path in PATHS] == [f"{i:02d}" for i in range(1, len(PATHS) + 1)]
    assert len(PATHS) >= 4


def test_valid(notebook):
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    if importlib.util.find_spec("nbformat") is not None:
        import nbformat

        nbformat.validate(nbformat.from_dict(notebook))


def test_small(path):
    assert path.stat().st_size < MAX_BYTES


def test_first_code_cell_installs(notebook):
    first = text_of(code_cells(notebook)[0]["source"])
    assert "%pip install" in first
    assert "kdediff_jax" in first


def test_sizes_follow_the_environment(notebook):
    assert "KDEDIFF_SMALL" in text_of(code_cells(notebook)[1]["source"])


def test_executed_in_order(notebook):
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_has_outputs_and_pictures(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    assert outputs
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_no_errors_and_no_warnings(notebook):
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"


def test_no_local_traces(notebook):
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        assert not ABSOLUTE.search(text_of(cell["source"]))
        for output in cell.get("outputs", []):
            assert output.get("metadata", {}) == {}
            for text in texts(output):
                assert not ABSOLUTE.search(text)


def test_links_between_notebooks_exist(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for target in re.findall(r"\]\((?!http)([^)#]+)\)", text_of(cell["source"])):
                assert (FOLDER / target).exists(), target


def test_first_cell_finds_a_wheel_or_a_checkout_or_says_what_to_do(notebook, tmp_path, monkeypatch):
    """As on Colab, where nothing is installed and there is no published release."""
    code = text_of(code_cells(notebook)[0]["source"])
    command = '%pip install --quiet "{found}[{extras}]"'
    assert code.count(command) == 1
    code = code.replace(command, "installed = str(found), extras")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    graphics = []
    monkeypatch.setattr(shutil, "which", lambda name: name if name in graphics else None)
    here = tmp_path / "content"
    here.mkdir()
    monkeypatch.chdir(here)

    def installed():
        space = {}
        exec(code, space)
        return space["installed"]

    with pytest.raises(FileNotFoundError, match="not on PyPI yet: put its wheel"):
        installed()
    checkout = here / "kdediff_jax"
    (checkout / "kdediff_jax").mkdir(parents=True)
    (checkout / "pyproject.toml").write_text("")
    found, extras = installed()
    assert found == str(checkout) and "cuda" not in extras
    monkeypatch.chdir(checkout / "kdediff_jax")  # inside a checkout
    assert installed() == (str(checkout), extras)
    monkeypatch.chdir(here)
    wheel = here / "kdediff_jax-0.1.0-py3-none-any.whl"
    wheel.write_text("")
    graphics.append("nvidia-smi")
    assert installed() == (str(wheel), f"{extras},cuda12")


def test_links_to_the_docs(notebook):
    text = "".join(text_of(cell["source"]) for cell in notebook["cells"])
    assert "](../docs/pages/" in text and "EnKPF()" in text_of(notebook["cells"][0]["source"])
