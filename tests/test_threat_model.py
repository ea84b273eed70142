"""docs/security.md says for every attack which test shows that it is refused: these tests are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_ROWS = re.findall(r"^\|(?!---)(.*)\|([^|]*)\|$", (_ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
_NAMES = sorted({name for _, cell in _ROWS for name in re.findall(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+", cell)})


@pytest.fixture(scope="module")
def written():
    """All tests' sources in one, and the names of their modules."""
    paths = [path for path in sorted((_ROOT / "tests").rglob("*.py")) if path != Path(__file__)]
    return "\n".join(f"{path.stem}\n{path.read_text()}" for path in paths)


def test_there_are_rows():
    assert len(_NAMES) > 80


@pytest.mark.parametrize("name", _NAMES)
def test_each_test_that_is_named_is_there(written, name):
    """By its name or a part of it, as one of its cases, or as a test's module."""
    assert name in written, f"docs/security.md names {name}, and no test is called so"
