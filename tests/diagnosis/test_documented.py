"""docs/diagnose.md lists the causes that there are, with the remedies that are printed."""

from pathlib import Path

import pytest

from edgec.diagnosis.findings import CAUSES

PAGE = (Path(__file__).parents[2] / "docs" / "diagnose.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_is_documented_with_its_remedy(cause):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{cause}` |")]
    assert CAUSES[cause].remedy.format(node="NODE") in row


def test_no_other_cause_is_documented():
    assert {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")} == set(CAUSES)
