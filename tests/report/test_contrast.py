"""Colours of the style sheet by the numbers of WCAG 2.2: text 4.5 to 1 (1.4.3), shapes of figures 3 to 1 (1.4.11)."""

from __future__ import annotations

import re

import pytest

from edgec.report.html import style

TEXT = [
    *((ink, ground) for ink in ("ink", "soft", "after") for ground in ("paper", "card")),
    *((ink, f"{tone}-wash") for tone in ("good", "doubt", "bad") for ink in ("ink", "soft", tone)),
    *((tone, "paper") for tone in ("good", "bad")),
    ("ink", "track"),
    ("ink", "held"),
]
SHAPES = [(colour, "card") for colour in ("before", "after", "mark", "int16", "float", "harm", "bad")]
SHAPES += [("after", "held"), ("bad", "card"), ("ink", "card")]


def themes():
    """The variables of both colour schemes: {"light": {name: "#rrggbb"}, "dark": ...}."""
    light, dark = (
        dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})\b", block))
        for block in re.findall(r":root \{(.*?)\}", str(style()), re.DOTALL)[:2]
    )
    return {"light": light, "dark": {**light, **dark}}


def luminance(colour):
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_is_21_to_1():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("pairs", "least"), [(TEXT, 4.5), (SHAPES, 3.0)], ids=["text", "shapes"])
def test_what_is_to_be_read_stands_out(theme, pairs, least):
    colours = themes()[theme]
    ratios = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < least} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_precisions_differ_in_lightness_from_each_other(theme):
    """So that they can be told apart without colours, too."""
    colours = themes()[theme]
    assert contrast(colours["after"], colours["float"]) > 1.15
