"""Limits with their units."""

import math

import pytest

from edgec.candidates.objectives import NO_LIMITS, Limits, read_bytes, read_milliseconds
from edgec.errors import UsageError


@pytest.mark.parametrize(("text", "value"), [("20ms", 20.0), ("1.5 s", 1500.0), ("800us", 0.8), ("3MS", 3.0)])
def test_a_time_has_a_unit(text, value):
    assert read_milliseconds(text) == pytest.approx(value)


@pytest.mark.parametrize(("text", "value"), [("5MB", 5_000_000), ("1.5 KiB", 1536), ("800kb", 800_000), ("7B", 7)])
def test_a_size_has_a_unit(text, value):
    assert read_bytes(text) == value


@pytest.mark.parametrize("text", ["20", "ms", "-1ms", "0ms", "20 minutes", "1e3ms", ""])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match="--max-latency"):
        read_milliseconds(text)


@pytest.mark.parametrize("text", ["5", "MB", "0B", "0.4B", "-5MB", "5 megabytes", "5 ms"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="--max-size"):
        read_bytes(text)


def test_how_far_figures_are_beyond_their_limits():
    limits = Limits(milliseconds=10.0, bytes=1000)
    assert limits.excess(5.0, 1500) == 1.5
    assert limits.excess(10.0, 1000) == 1.0
    assert limits.excess(None, 10) == math.inf
    assert NO_LIMITS.excess(None, None) == 0.0
