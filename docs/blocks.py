"""Code blocks of a page: found, run in the order of the page, and held against what is quoted.

One mechanism for the site and for the tests, so that nothing on a page is shown that was not run:

* every block fenced as `python` is run, all blocks of a page in one namespace;
* a block fenced as `error` right behind one quotes the exception that it raises, `Type: message`,
  where `...` stands for anything and line breaks are as good as blanks;
* what a block prints is shown behind it when the site is built;
* a block right behind `<!-- needs: NAME -->` runs where that package is installed, which none of
  this package's extras brings.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import sys
import tempfile
import types
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
FENCE = re.compile(
    r"(?:^<!-- needs: (?P<needs>\w+) -->\n)?"
    r"^```python\n(?P<code>.*?)^```[ ]*$(?:\n+^```error\n(?P<error>.*?)^```[ ]*$)?",
    re.MULTILINE | re.DOTALL,
)
ANY_PYTHON = re.compile(r"^[^\n`]*```+[ ]*\{?\.?(?:python|py)\b", re.MULTILINE)


class Block(NamedTuple):
    """One block of a page.

    Attributes:
        code: what is run.
        error: the exception that it must raise, as quoted; None where it must not.
        line: of the fence, from 1.
        end: index of the text behind the block, and behind the quoted exception.
        needs: module without which it is not run; None where there is none.
    """

    code: str
    error: str | None
    line: int
    end: int
    needs: str | None

    @property
    def can_run(self) -> bool:
        """Say whether the module that it needs is installed."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


class WrongPageError(Exception):
    """A page that shows what is not so, or a block that the mechanism would not see."""


def find(text: str) -> list[Block]:
    """Return the blocks of a page in order.

    Raises:
        WrongPageError: a block that would not be run, such as an indented one.
    """
    blocks = [
        Block(
            m["code"],
            m["error"],
            text.count("\n", 0, m.start("code")),
            m.end(),
            m["needs"],
        )
        for m in FENCE.finditer(text)
    ]
    if len(ANY_PYTHON.findall(text)) != len(blocks):
        raise WrongPageError("a Python block is indented or not fenced as ```python: it is not run")
    return blocks


class Ran(NamedTuple):
    """A block that was run, what it printed, and the PNG files it left, by name."""

    block: Block
    printed: str
    pictures: dict[str, bytes]


def run(text: str, path: Path) -> list[Ran]:
    """Run the blocks of a page one after the other, in an empty folder of their own.

    Args:
        text: the page.
        path: where it is, for tracebacks.

    Raises:
        WrongPageError: a block raises something else than what is quoted, or nothing.
        Exception: what a block raises that has no quote.
    """
    page = types.ModuleType("page")  # a class that a block defines looks for its module
    sys.modules[page.__name__] = page
    blocks, done, seen = find(text), [], set[str]()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in blocks:
            if not block.can_run:
                done.append(Ran(block, "", {}))
                continue
            # line numbers of a traceback are those of the page
            code = compile("\n" * block.line + block.code, str(path), "exec")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                if block.error is None:
                    exec(code, page.__dict__)
                else:
                    _raises(code, page.__dict__, block, path)
            new = {file.name: file.read_bytes() for file in sorted(Path().glob("*.png"))}
            new = {name: content for name, content in new.items() if name not in seen}
            seen |= set(new)
            done.append(Ran(block, printed.getvalue(), new))
    return done


def _raises(code: Any, space: dict[str, Any], block: Block, path: Path) -> None:
    """Run a block that must raise what is quoted."""
    where = f"{path.name}, line {block.line}"
    try:
        exec(code, space)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        if not _same(block.error or "", found):
            raise WrongPageError(f"{where}: quoted\n{block.error}but raised\n{found}") from error
    else:
        raise WrongPageError(f"{where}: nothing was raised, quoted\n{block.error}")


def _same(quoted: str, found: str) -> bool:
    """Say whether a message is the one quoted."""
    parts = [" ".join(part.split()) for part in quoted.split("...")]
    pattern = ".*".join(re.escape(part).replace(r"\ ", r"\s+") for part in parts)
    return re.fullmatch(rf"\s*{pattern}\s*", found, re.DOTALL) is not None
