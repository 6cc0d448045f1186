"""What pages take from the committed documents, so that no number is written by hand.

`<!-- include: README.md measured -->` stands for the text between the marks of that name, and
`<!-- include: benchmarks/RESULTS.md ## Heading -->` for a section without its heading.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = tuple(RESULTS / name for name in ("lorenz63-z.png", "sweep_grid.png"))
MARK = re.compile(r"^<!-- include: (?P<path>\S+) (?P<part>.+?) -->$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")


def part(path: str, name: str) -> str:
    """Return a part of a document; its links into the checkout become plain text.

    Raises:
        ValueError: no such part.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    if name.startswith("## "):
        sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
        found = [s.partition("\n")[2] for s in sections if s.partition("\n")[0] == name]
    else:
        found = re.findall(f"<!-- {name}:start -->(.*?)<!-- {name}:end -->", text, re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"include: expected one part {name!r} in {path}, got {len(found)}")
    return LINK.sub(r"\1", found[0]).strip()


def fill(text: str) -> str:
    """Return a page with its includes put in."""
    return MARK.sub(lambda mark: part(mark["path"], mark["part"]), text)
