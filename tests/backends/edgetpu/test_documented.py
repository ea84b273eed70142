"""docs/edgetpu.md says what the rules say."""

from pathlib import Path

from edgec.backends.edgetpu import rules

TEXT = (Path(__file__).parents[3] / "docs" / "edgetpu.md").read_text(encoding="utf-8")


def test_the_table_of_operators_is_that_of_the_rules():
    assert "\n".join(rules.table()) in TEXT


def test_the_replacements_are_those_of_the_rules():
    rows = "\n".join(f"| {name} | {text} |" for name, text in rules.REPLACEMENTS.items())
    assert rows in TEXT


def test_it_says_that_nothing_was_validated():
    from edgec.backends.edgetpu.mapping import DISCLAIMER

    assert DISCLAIMER.split("; ")[1].removeprefix("the predictor ") in TEXT
