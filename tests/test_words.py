"""Numbers with their nouns: one is not several, wherever it is counted."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import kdediff_jax
from kdediff_jax._words import counted, listed

NOUNS = "component|cycle|coordinate|measurement|point|seed|device|row"


def test_one_is_not_several():
    assert [counted(n, "component") for n in (0, 1, 2)] == [
        "0 components", "1 component", "2 components"
    ]  # fmt: skip
    assert counted(1, "entry") == "1 entry" and counted(3, "entry") == "3 entries"
    assert counted(2, "day") == "2 days" and counted(2, "axis", "axes") == "2 axes"
    assert listed(["a"]) == "a" and listed(["a", "b", "c"], "or") == "a, b or c"


def uncounted(source):
    """Return the numbers straight before a plural in formatted texts: each could be 1.

    Members are at least two, and "3 of 8 cycles" is plural whatever the first number is.
    """
    for node in ast.walk(ast.parse(source)):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for k in range(len(parts) - 1):
            words, lead = (getattr(parts[j], "value", "") if j >= 0 else "" for j in (k + 1, k - 1))
            if not isinstance(parts[k], ast.FormattedValue) or not isinstance(words, str):
                continue
            of_several = re.search(r"\b(of|than) $", lead if isinstance(lead, str) else "")
            if re.match(rf" ({NOUNS})s\b", words) and not of_several:
                yield f"line {node.lineno}: {{{ast.unparse(parts[k])}}}{words}"


def test_messages_count_by_it():
    root = Path(kdediff_jax.__file__).parent
    found = [
        f"{path.relative_to(root)}, {place}"
        for path in sorted(root.rglob("*.py"))
        for place in uncounted(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)
    assert [*uncounted("f'{n} cycles failed'")] and not [*uncounted("f'{k} of {n} cycles'")]
