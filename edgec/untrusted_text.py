"""Text that somebody else wrote: names in models and artifacts, what a board says."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters other than tab and line feed, which terminals act on; and what has no width or turns text around,
with which one name passes for another."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!])")
"""Letters that mean something in Markdown, anywhere in a line."""


def clean(text: object) -> str:
    """`text` for people to read, with a mark in the place of everything unprintable."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text))


def markdown(text: object) -> str:
    """`text` on one line, as Markdown that shows it literally."""
    return _SPECIAL.sub(r"\\\1", " ".join(clean(text).split()))
