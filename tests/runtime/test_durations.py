"""Durations as people type them."""

from __future__ import annotations

import pytest

from edgec.runtime.durations import seconds_of, shown
from edgec.runtime.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("2m", 120), ("2 min", 120), ("1.5h", 5400), ("7", 7), (".5s", 0.5), ("3S", 3)],
)
def test_a_number_and_a_unit(text, seconds):
    assert seconds_of(text, "--duration") == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "soon", "-5s", "5 parsecs", "1e9s", "5s5s", "nan", "inf", "0", "0ms", "9999h"]
)
def test_anything_else_is_refused_by_the_name_of_its_option(text):
    with pytest.raises(InputError, match="--soak") as told:
        seconds_of(text, "--soak")
    assert told.value.why
    assert "--soak 30s" in told.value.fix


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (30, "30 s"), (600, "10 min"), (5400, "1 h 30 min"), (7200, "2 h")]
)
def test_they_are_shown_in_units_that_fit(seconds, text):
    assert shown(seconds) == text
