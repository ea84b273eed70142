"""Text from models, artifacts and boards on rich's consoles."""

from __future__ import annotations

from edgec.untrusted_text import clean


def escape(text: str) -> str:
    """`text` as a console shall show it: nothing in it is markup, and nothing in it commands the terminal."""
    from rich.markup import escape as literally

    return literally(clean(text))
