"""docs/security.md says of every attack which test shows its refusal: each of them is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\|.*\|$", re.M)
_NAME = re.compile(r"[a-z][a-z0-9_]{5,}")
_DEFINED = re.compile(r"^ *def (?:test_)?(\w+)\(", re.M)


@pytest.fixture(scope="module")
def defined():
    """Names of functions in the tests, without test_."""
    folders = [ROOT / "tests" / name for name in ("shipping", "bundle", "runtime")]
    text = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    return set(_DEFINED.findall(text))


def _named_tests():
    """The names in the column `test`: whole ones, or parts of them."""
    for row in _ROW.findall((ROOT / "docs" / "security.md").read_text(encoding="utf-8")):
        cell = row.strip("| ").split(" | ")[-1]
        yield from (found for found in _NAME.findall(cell) if "_" in found and not found.startswith("test_"))


def test_every_test_that_the_page_names_is_there(defined):
    names = set(_named_tests())
    assert len(names) > 60
    missing = {name for name in names if not any(name in each for each in defined)}
    assert missing == set()


def test_every_file_that_the_page_names_is_there():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"test_\w+\.py", page)) - there == set()
