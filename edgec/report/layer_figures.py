"""Plots along the layers of a model: what each computes, in which precision, what it costs; and the roofline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgec.report.figures import svg

MOST_TOOLTIPS = 300
"""Layers up to which each has a text of its own to hover over; the table has all of them in any case."""

_TALL, _GAP, _STRIP, _HEAD = 84, 20, 12, 22
_CROWDED = 150  # layers from which columns touch each other


@dataclass(frozen=True)
class Panel:
    """One figure of every layer, as columns.

    title: what is plotted; largest: the value of the highest column, as text. heights: 0 to 1, None for no value.
    styles: a class for the colour of each column.
    """

    title: str
    largest: str
    heights: Sequence[float | None]
    styles: Sequence[str]


def along_layers(
    panels: Sequence[Panel], strip: Sequence[str], tooltips: Sequence[str], alternative: str, strip_title: str = ""
) -> Markup:
    """Panels below each other, one column a layer at the same place in each, over a strip in the layers' colours.

    strip: a class for each layer; [] for no strip. tooltips: a text for each layer.
    """
    count = max(1, len(tooltips))
    each = 100 / count
    wide = each * (1.0 if count > _CROWDED else 0.8)
    parts: list[Markup] = []
    y = 0
    for panel in panels:
        parts.append(
            Markup(
                '<text class="tick" x="0" y="{}">{}</text>'
                '<text class="tick" x="100%" y="{}" text-anchor="end">{}</text>'
            ).format(y + 13, panel.title, y + 13, panel.largest)
        )
        y += _HEAD
        bottom = y + _TALL
        parts.append(Markup('<line class="rule" x1="0" x2="100%" y1="{}" y2="{}"/>').format(bottom, bottom))
        for index, (height, style) in enumerate(zip(panel.heights, panel.styles, strict=True)):
            if height:
                tall = max(1.5, _TALL * min(1.0, height))
                parts.append(_column(style, index * each, wide, bottom - tall, tall))
        y = bottom + _GAP
    if strip:
        if strip_title:
            parts.append(Markup('<text class="tick" x="0" y="{}">{}</text>').format(y + 13, strip_title))
            y += _HEAD
        parts += [_column(style, index * each, each, y, _STRIP) for index, style in enumerate(strip)]
        y += _STRIP + 6
    if len(tooltips) <= MOST_TOOLTIPS:
        parts += [
            Markup('<rect class="hover" x="{:.2f}%" y="0" width="{:.2f}%" height="{}"><title>{}</title></rect>').format(
                index * each, each, y, text
            )
            for index, text in enumerate(tooltips)
        ]
    for text, anchor, x in (("first layer", "start", 0), (f"layer {count}", "end", 100)):
        parts.append(
            Markup('<text class="tick" x="{}%" y="{}" text-anchor="{}">{}</text>').format(x, y + 12, anchor, text)
        )
    return svg(parts, y + 18, alternative)


def _column(style: str, x: float, width: float, y: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{:.2f}%" y="{:.1f}" width="{:.2f}%" height="{:.1f}"/>').format(
        style, x, y, width, height
    )


@dataclass(frozen=True)
class Roof:
    """One ceiling of the roofline: 10^9 multiply-accumulates per second."""

    label: str
    gmacs: float
    style: str


@dataclass(frozen=True)
class Dot:
    """One layer under the roof.

    intensity: multiply-accumulates per byte moved. gmacs: 10^9 multiply-accumulates per second that it reached. weight:
        its share of the time, which is its size. style: a class for its colour.
    """

    label: str
    intensity: float
    gmacs: float
    weight: float
    style: str


_PLOT = 300  # px


def roofline(dots: Sequence[Dot], roofs: Sequence[Roof], memory_gb_per_s: float, alternative: str) -> Markup:
    """Layers below the roofs of a processor, both axes logarithmic.

    A roof rises with the memory's bandwidth (GB/s times MACs per byte) until it meets the peak of the arithmetic.
    """
    ridges = [roof.gmacs / memory_gb_per_s for roof in roofs]
    low = min([dot.intensity for dot in dots] + ridges) / 2
    high = max([dot.intensity for dot in dots] + ridges) * 2
    least = max(min([dot.gmacs for dot in dots] + [memory_gb_per_s * low]), 1e-9) / 2
    most = max([roof.gmacs for roof in roofs] + [dot.gmacs for dot in dots]) * 1.6

    def x(value: float) -> float:
        return 100 * math.log(value / low) / math.log(high / low)

    def y(value: float) -> float:
        return _PLOT - _PLOT * math.log(max(value, least) / least) / math.log(most / least)

    parts: list[Markup] = []
    for value in _decades(low, high):
        parts.append(
            Markup(
                '<line class="rule" x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="{1}"/>'
                '<text class="tick" x="{0:.2f}%" y="{2}" text-anchor="{4}">{3:g}</text>'
            ).format(x(value), _PLOT, _PLOT + 16, value, _anchor(x(value)))
        )
    for value in _decades(least, most):
        parts.append(
            Markup(
                '<line class="rule" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>'
                '<text class="tick" x="0" y="{1:.1f}">{2:g}</text>'
            ).format(y(value), y(value) - 4, value)
        )
    for roof, ridge in zip(roofs, ridges, strict=True):
        foot = max(low, least / memory_gb_per_s)
        parts.append(
            Markup(
                '<line class="roof {0}" x1="{1:.2f}%" y1="{2:.1f}" x2="{3:.2f}%" y2="{4:.1f}"/>'
                '<line class="roof {0}" x1="{3:.2f}%" y1="{4:.1f}" x2="100%" y2="{4:.1f}"/>'
                '<text class="tick" x="100%" y="{5:.1f}" text-anchor="end">{6}</text>'
            ).format(
                roof.style, x(foot), y(foot * memory_gb_per_s), x(ridge), y(roof.gmacs), y(roof.gmacs) - 5, roof.label
            )
        )
    for dot in sorted(dots, key=lambda dot: -dot.weight):
        parts.append(
            Markup('<circle class="{}" cx="{:.2f}%" cy="{:.1f}" r="{:.1f}"><title>{}</title></circle>').format(
                dot.style, x(dot.intensity), y(dot.gmacs), 3 + 22 * math.sqrt(dot.weight / math.pi), dot.label
            )
        )
    parts.append(
        Markup(
            '<text class="tick" x="50%" y="{}" text-anchor="middle">multiply-accumulates per byte moved</text>'
        ).format(_PLOT + 34)
    )
    return svg(parts, _PLOT + 40, alternative)


def _anchor(x: float) -> str:
    """How a text at `x` % of the width is set, so that it does not stand out of the figure on a phone either."""
    return "start" if x < 4 else "end" if x > 96 else "middle"


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten within (low, high); with 3 times each where there are few of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    whole = [10.0**power for power in range(first, last + 1) if low < 10.0**power < high]
    if len(whole) > 2:
        return whole
    both = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 3)]
    return [value for value in both if low < value < high]
