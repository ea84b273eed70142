"""docs/parity.md lists the gate as it is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from edgec.parity.thresholds import Gate

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"


def table():
    """The gate as rows of Markdown."""
    rows = [f"| `{item.name}` | {item.default:g} | {item.metadata['meaning']} |" for item in fields(Gate)]
    return "\n".join(["| name | default | meaning |", "|---|---|---|", *rows])


def test_the_table_of_limits_is_that_of_the_code():
    found = re.search(r"<!-- gates -->\n(.*?)\n<!-- /gates -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert found[1] == table()
