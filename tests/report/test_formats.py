"""Numbers as people read them."""

import pytest

from edgec.report import formats


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (formats.size, 999, "999 bytes"),
        (formats.size, 18_630_000, "18.6 MB"),
        (formats.count, 456_000_000, "456 M"),
        (formats.count, 12, "12"),
        (formats.milliseconds, 2.3149, "2.31 ms"),
        (formats.milliseconds, 0.0841, "0.0841 ms"),
        (formats.seconds, 0.44, "0.4 s"),
        (formats.seconds, 12.3, "12 s"),
        (formats.seconds, 200, "3 min 20 s"),
        (formats.percent, 1.0, "100 %"),
        (formats.percent, 0.9999, "> 99.9 %"),
        (formats.percent, 0.00001, "< 0.1 %"),
        (formats.percent, 0.0, "0 %"),
        (formats.percent, 0.125, "12.5 %"),
        (formats.decibel, None, "–"),
        (formats.decibel, 120.0, "exact"),
        (formats.decibel, 22.66, "22.7 dB"),
        (formats.times, 2.56, "2.6×"),
        (formats.times, 12.34, "12.3×"),
        (formats.significant, 4.1e-6, "4.10e-06"),
        (formats.significant, 123456.0, "123000"),
    ],
)
def test_format(function, value, text):
    assert function(value) == text


def test_control_and_direction_characters_are_replaced():
    assert formats.clean("a\x00b\u202ec") == "a\ufffdb\ufffdc"


def test_a_long_name_loses_its_middle():
    assert formats.shortened("short") == "short"
    found = formats.shortened("a" * 40 + "the end", 34)
    assert len(found) == 34
    assert found.endswith("the end")
    assert "…" in found
