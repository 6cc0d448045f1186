"""Numbers with their nouns, for messages and reports: "1 component", "2 components"."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, in the singular for 1.

    Args:
        number: how many.
        noun: of one; nouns that end in "y" behind a consonant become "ies", others get an "s".
        plural: of several, where it is another.
    """
    if number == 1:
        return f"{number} {noun}"
    if plural is None:
        of_ies = noun.endswith("y") and noun[-2:-1] not in {*"aeiou"}
        plural = f"{noun[:-1]}ies" if of_ies else f"{noun}s"
    return f"{number} {plural}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Return names as a sentence has them: "a", "a and b", "a, b and c"."""
    *first, end = names
    return f"{', '.join(first)} {last} {end}" if first else end
