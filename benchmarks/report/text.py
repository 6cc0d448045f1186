"""Sections of a document as text."""

from __future__ import annotations

import textwrap


def paragraph(text):
    """Return a text of one paragraph in lines of at most 96 characters; tables as they are."""
    if text.startswith(("|", "#", "!", "*")):
        return text
    return textwrap.fill(text, 96, break_long_words=False, break_on_hyphens=False)


def section(heading, *parts):
    """Return a section of parts, each a paragraph or a table; empty parts are left out."""
    return "\n\n".join([f"## {heading}", *(paragraph(part) for part in parts if part)]) + "\n"


def anchor(heading):
    """Return the fragment that a heading gets."""
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")
